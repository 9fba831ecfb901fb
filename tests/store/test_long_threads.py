"""Threads of more members than they show (contract 2, "beyond 2,000")."""

import asyncio
import gc
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from bson import DatetimeMS, decode

from service.store import members
from service.store.group_commit import GroupCommit
from service.store.ids import ThreadKey
from service.store.long_threads import LongThreads
from service.store.mongo import Mongo
from service.store.threads import refresh_threads
from service.store.writes import write_changes
from tests.conftest import Driver
from tests.factories import record
from tests.store.conversations import (
    ORGANIZATION,
    deleting,
    encoded,
    modelled_threads,
    setting,
    stored_threads,
    to_change,
)

Event = dict[str, Any]


@pytest.fixture
def mongo_driver() -> Driver:
    return "pymongo"


async def apply(mongo: Mongo, events: Iterable[Event]) -> None:
    """Each thousand as another batch, its threads refreshed at the end alone."""
    every = list(events)
    for start in range(0, len(every), 1000):
        changes = encoded(map(to_change, every[start : start + 1000]))
        written = await write_changes(mongo, changes)
    await refresh_threads(mongo, changes[-1:], written[-1:])


def mails(numbers: Iterable[int], thread: str = "acti_t") -> list[Event]:
    """Emails of one thread, the higher the newer, by many people."""
    return [
        setting(
            f"acti_{thread}_{number:06}",
            1,
            thread_id=thread,
            activity_at=f"2026-01-02T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            date_updated=f"2026-02-02T00:{-number // 60 % 60:02}:{-number % 60:02}Z",
            user_id=f"user_{number // 400}",
            contact_id=f"cont_{number // 300}",
            created_by=f"user_{number}",
            sender=f"Person {number} <person{number // 10}@x.example>",
        )
        for number in numbers
    ]


@pytest.mark.parametrize("count", [2000, 2002])
async def test_a_long_thread_is_what_the_model_says(mongo: Mongo, count: int) -> None:
    overlay = setting("acti_t", 1, type_name="EmailThread", summary="long")
    events = [*mails(range(count)), overlay]
    await apply(mongo, events)
    later = [*mails([count]), deleting("acti_acti_t_000000", 2)]
    expected = modelled_threads(map(record, events))[ORGANIZATION]
    assert await stored_threads(mongo) == expected

    await apply(mongo, later)

    assert (
        await stored_threads(mongo) == modelled_threads(map(record, events + later))[ORGANIZATION]
    )
    thread = await mongo.activities.find_one({"_id": "orga_1!acti_t!thread"})
    newest = range(max(1, count - 1999), count + 1)
    assert thread["_meta"]["contact_ids"] == list(
        dict.fromkeys(f"cont_{number // 300}" for number in reversed(newest))
    )


async def test_threads_of_any_length_are_read_side_by_side(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies end within threads, at the ends of threads, and within another's of the same id."""
    lengths = {"acti_a": 7, "acti_b": 3, "acti_c": 12, "acti_d": 1, "acti_e": 5}
    events = [event for thread, n in lengths.items() for event in mails(range(n), thread)]
    for organization in ("orga_0", "orga_1", "orga_2"):
        changes = encoded(to_change(event, organization) for event in events)
        await write_changes(mongo, changes)
    keys = [ThreadKey("orga_1", thread) for thread in lengths if thread != "acti_c"]
    keys += [ThreadKey("orga_2", "acti_c"), ThreadKey("orga_0", "acti_e"), ThreadKey("orga_9", "x")]
    plain = await members.read_members(mongo, keys)
    assert {key: len(found) for key, found in plain.items()} == {
        key: lengths.get(key.id, 0) for key in keys
    }

    for at_once in range(10, 40):
        monkeypatch.setattr(members, "MAX_MEMBERS", (at_once - 2) // 2)
        monkeypatch.setattr(members, "MAX_READ_MEMBERS", at_once)
        found = await members.read_members(mongo, keys)
        for key in keys:
            older = found[key].older
            cut = older.number if older else 0
            assert len(found[key]) + cut == len(plain[key])
            assert [dict(one) for one in found[key]] == [
                dict(one) for one in plain[key][: len(found[key])]
            ]
            if older:
                assert older.oldest["id"] == plain[key][-1]["id"]


@pytest.mark.parametrize("odd", [1, 5, 11, 12])
async def test_a_long_thread_of_which_much_cannot_be_read_comes_to_an_end(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch, odd: int
) -> None:
    await write_changes(mongo, encoded(map(to_change, mails(range(12)))))
    await write_changes(mongo, encoded(map(to_change, mails(range(3), "acti_u"))))
    ids = {"$in": [f"orga_1!acti_acti_t_{number:06}" for number in range(odd)]}
    # Behind all that there is: the newest.
    await mongo.activities.update_many(
        {"organization_id": ORGANIZATION, "_id": ids},
        {"$set": {"activity_at": DatetimeMS(2**60)}},
        hint="_id_",
    )
    monkeypatch.setattr(members, "MAX_MEMBERS", 4)
    monkeypatch.setattr(members, "MAX_READ_MEMBERS", 10)
    keys = [ThreadKey(ORGANIZATION, thread) for thread in ("acti_t", "acti_u")]

    found = await members.read_members(mongo, keys)

    assert len(found[keys[0]]) <= 4
    assert len(found[keys[1]]) == 3


async def test_an_email_of_a_long_thread_delays_no_other(mongo: Mongo) -> None:
    """Neither does it hold the loop, nor does anybody wait for its refresh."""
    await fill(mongo, "acti_long", 20_000)
    process = replace(mongo, refreshes=GroupCommit(), long_threads=LongThreads())
    await apply(process, mails([30_000], "acti_long"))  # how long it is, is known from now on
    gaps, delays = [0.0], list[float]()
    done = asyncio.Event()

    async def feel() -> None:
        """What this process does in one go: others that share the machine do not count."""
        while not done.is_set():
            began = time.thread_time()
            await asyncio.sleep(0)
            gaps.append(time.thread_time() - began)

    async def write_long() -> None:
        for number in range(5):
            await apply(process, mails([30_001 + number], "acti_long"))
        done.set()

    async def write_short() -> None:
        number = 0
        while not done.is_set():
            began = time.perf_counter()
            await apply(process, mails([0], f"acti_s{number}"))
            delays.append(time.perf_counter() - began)
            number += 1

    gc.collect()
    gc.disable()  # what all tests before have left is no work of a refresh
    try:
        await asyncio.gather(feel(), write_long(), write_short())
    finally:
        gc.enable()

    assert max(gaps) < 0.05
    assert statistics.median(delays) < 0.1
    assert len(delays) > 5


async def fill(mongo: Mongo, thread: str, count: int) -> None:
    """Members as the store holds them, without the time that it takes to make each an event."""
    (change,) = encoded([to_change(mails([0], thread)[0])])
    document = decode(change.document)
    every = [
        {**document, "_id": f"{document['_id']}{n}", "id": f"{document['id']}{n}"}
        for n in range(count)
    ]
    await mongo.activities.insert_many(every, ordered=False)
