"""Threads in the store: always what the model makes of the same records (contract 2)."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from bson import decode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.activities.events import Change
from service.errors import StoreUnavailable
from service.store import members as members_of_threads
from service.store import threads
from service.store.group_commit import GroupCommit
from service.store.ids import ThreadKey
from service.store.members import MemberList, Members, read_members
from service.store.mongo import Mongo
from service.store.threads import Refreshed, Versions, clear_marks, read_marks, refresh_threads
from service.store.writes import MAX_DOCUMENT_BYTES, EncodedChange, Written, write_changes
from tests.examples import examples
from tests.factories import arrivals, mailboxes, record
from tests.store.conversations import (
    ORGANIZATION,
    deleting,
    encoded,
    marked,
    modelled_threads,
    newest_changes,
    setting,
    stored_threads,
    to_change,
)


async def apply(mongo: Mongo, *events: dict[str, Any]) -> int:
    return await apply_changes(mongo, [to_change(event) for event in events])


async def apply_changes(mongo: Mongo, changes: list[Change]) -> int:
    writes = encoded(changes)
    return await refresh_threads(mongo, writes, await write_changes(mongo, writes))


async def test_emails_of_one_batch_are_one_thread(mongo: Mongo) -> None:
    events = [setting(f"acti_{n}", 1, thread_id="acti_t") for n in range(7)]

    refreshed = await apply(mongo, *events)

    assert refreshed == 1
    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(map(record, events))


async def test_a_moved_email_leaves_its_old_thread_right(mongo: Mongo) -> None:
    events = [
        setting("acti_1", 1, subject="Quote"),
        setting("acti_2", 1, subject="Re: Quote"),
        setting("acti_1", 2, subject="Order"),
        setting("acti_2", 2, subject="Quote", lead_id="lead_2"),
    ]

    for event in events:
        await apply(mongo, event)

    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(map(record, events))
    assert await marked(mongo) == set()


async def test_marks_of_an_email_that_moved_on_are_not_cleared(mongo: Mongo) -> None:
    first, second, *later = encoded(
        to_change(setting("acti_1", revision, thread_id=thread))
        for revision, thread in enumerate(("acti_a", "acti_b", "acti_a", "acti_c"), 1)
    )
    for change in (first, second):
        await write_changes(mongo, [change])
    marks = await read_marks(mongo, [second])
    for change in later:
        await write_changes(mongo, [change])

    await clear_marks(mongo, marks, Refreshed({}, {}))

    stored = await mongo.activities.find_one({"_id": first.key})
    assert sorted(stored["_meta"]["left_threads"]) == ["acti_a", "acti_b"]


@pytest.mark.parametrize(
    "last", [deleting("acti_1", 3), setting("acti_1", 3, type_name="Note")], ids=["delete", "note"]
)
async def test_a_thread_without_members_is_gone(mongo: Mongo, last: dict[str, Any]) -> None:
    for event in (setting("acti_1", 1), setting("acti_1", 2, subject="Other"), last):
        await apply(mongo, event)

    assert await stored_threads(mongo) == {}
    assert await marked(mongo) == set()


async def test_an_overlay_is_laid_over_the_thread_and_removed_again(mongo: Mongo) -> None:
    events = [
        setting("acti_t", 1, type_name="EmailThread", n_emails=99, summary={"status": "pending"}),
        setting("acti_1", 1, thread_id="acti_t"),
        setting("acti_t", 2, type_name="EmailThread", importance={"type": "important"}),
        deleting("acti_t", 3, type_name="EmailThread"),
    ]

    for count in range(1, len(events) + 1):
        await apply(mongo, events[count - 1])
        expected = modelled_threads(map(record, events[:count]))[ORGANIZATION]
        assert await stored_threads(mongo) == expected


async def test_an_overlay_outlives_the_empty_document_of_its_thread(mongo: Mongo) -> None:
    """Which MongoDB removes in the end, as all that is deleted."""
    events = [
        setting("acti_t", 1, type_name="EmailThread", summary={"status": "pending"}),
        setting("acti_1", 1, thread_id="acti_t"),
    ]

    await apply(mongo, events[0])
    removed = await mongo.activities.delete_many({"_meta.deleted_at": {"$exists": True}})
    await apply(mongo, events[1])

    assert removed.deleted_count == 1
    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(map(record, events))


async def test_a_thread_may_have_the_id_of_one_of_its_emails(mongo: Mongo) -> None:
    events = [setting("acti_1", 1, thread_id="acti_1"), setting("acti_2", 1, thread_id="acti_1")]

    await apply(mongo, *events)

    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(map(record, events))


async def test_two_organizations_with_one_thread_id_stay_apart(mongo: Mongo) -> None:
    events = [
        setting("acti_1", 1, thread_id="acti_t", organization_id="orga_1", subject="ours"),
        setting("acti_1", 1, thread_id="acti_t", organization_id="orga_2", subject="theirs"),
    ]

    changes = newest_changes(map(record, events))
    await apply_changes(mongo, changes)
    await apply_changes(mongo, [to_change(deleting("acti_1", 2), "orga_2")])

    assert await stored_threads(mongo, "orga_1") == modelled_threads(map(record, events))["orga_1"]
    assert await stored_threads(mongo, "orga_2") == {}


async def test_filters_find_a_thread_by_any_member(mongo: Mongo) -> None:
    await apply(
        mongo,
        setting("acti_1", 1, thread_id="acti_t", user_id="user_1", contact_id="cont_1"),
        setting("acti_2", 1, thread_id="acti_t", user_id="user_2", contact_id=None),
    )

    thread = await mongo.activities.find_one({"_type": "EmailThread"})

    assert set(thread["_meta"]["user_ids"]) == {"user_1", "user_2"}
    assert thread["_meta"]["contact_ids"] == ["cont_1"]


async def test_members_are_read_without_what_no_thread_shows(mongo: Mongo) -> None:
    events = [setting(f"acti_{n}", 1, thread_id="acti_t") for n in range(7)]
    await apply(mongo, *events)

    thread = ThreadKey(ORGANIZATION, "acti_t")
    members = (await read_members(mongo, [thread]))[thread]

    documents = [decode(one.document) for one in members]
    assert not any(key.startswith(("body_html", "body_text")) for one in documents for key in one)
    assert sum("body_preview" in one for one in documents) == 5


async def test_an_email_with_much_to_show_is_read_back_for_its_thread(mongo: Mongo) -> None:
    """From 4 KiB on the driver gives a view of its buffer, and no bytes of their own."""
    to = [f"buyer.{number}@customer.example" for number in range(200)]
    events = [setting(f"acti_{n}", 1, thread_id="acti_t", to=to, sender="a" * 5000) for n in (1, 2)]

    for event in events:
        await apply(mongo, event)

    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(map(record, events))


async def test_own_emails_are_held_without_what_no_thread_shows(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Any] = []
    write_threads = threads.write_threads

    async def look_and_write(mongo: Mongo, versions: Versions, members: Members) -> Refreshed:
        held.extend(email for emails in members.values() for email in emails)
        return await write_threads(mongo, versions, members)

    monkeypatch.setattr(threads, "write_threads", look_and_write)
    await apply(mongo, setting("acti_1", 1, thread_id="acti_t", body_text="b", unknown=[{}]))

    assert [email["id"] for email in held] == ["acti_1"]
    assert not {"body_text", "unknown"} & held[0].keys()


async def test_an_email_may_become_a_note_between_two_reads(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which the fields that an email has may hold anything."""
    events = [setting("acti_1", 1, thread_id="acti_t"), setting("acti_2", 1, thread_id="acti_t")]
    note = setting("acti_2", 2, type_name="Note", subject=5, sender=[], envelope="none")
    complete_latest = members_of_threads._complete_latest

    async def complete_later(mongo: Mongo, members: dict[ThreadKey, MemberList]) -> None:
        monkeypatch.undo()
        await write_changes(mongo, encoded([to_change(note)]))
        await complete_latest(mongo, members)

    monkeypatch.setattr(members_of_threads, "_complete_latest", complete_later)
    await apply(mongo, *events)
    await apply(mongo, note)

    assert {ORGANIZATION: await stored_threads(mongo)} == modelled_threads(
        map(record, [*events, note])
    )


async def test_a_thread_too_large_for_a_document_loses_what_can_be_spared(mongo: Mongo) -> None:
    name = "N" * 900_000
    events = [
        setting(
            f"acti_{n:02d}",
            1,
            thread_id="acti_t",
            envelope={"from": [{"email": f"{n}@x.test", "name": name}]},
        )
        for n in range(20)
    ]

    await apply(mongo, *events)

    thread = (await stored_threads(mongo))["acti_t"]
    assert thread["n_emails"] == 20
    assert thread["participants"] == []
    assert len(thread["latest_emails"]) == 5


def test_a_thread_spares_the_ids_of_its_users_last() -> None:
    ids = [f"user_{n}{'x' * 100}" for n in range(10)]
    thread = {
        "subject": "x" * (MAX_DOCUMENT_BYTES - 200),
        "participants": ids,
        "users": ids,
        "_meta": {"version": None, "user_ids": ids, "contact_ids": ids},
    }

    fitting = threads._to_fitting(thread)

    assert len(fitting.raw) <= MAX_DOCUMENT_BYTES
    assert fitting["users"] == fitting["participants"] == []


async def test_without_emails_nothing_of_threads_is_asked(mongo: Mongo) -> None:
    for revision in (1, 2):
        notes = [setting(f"acti_{n}", revision, type_name="Note") for n in range(3)]
        changes = encoded(map(to_change, notes))
        written = await write_changes(mongo, changes)
        assert [answer.leaves_nothing for answer in written] == [True] * 3
        assert await refresh_threads(mongo, changes, written) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 25])
async def test_more_threads_than_its_rounds_take_at_once_are_all_refreshed(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS_AT_ONCE", 2)
    monkeypatch.setattr(threads, "MAX_ROUNDS_AT_ONCE", 4)
    events = [setting(f"acti_{n}", 1, thread_id=f"acti_t{n}") for n in range(count)]

    assert await apply(mongo, *events) == count

    assert len(await stored_threads(mongo)) == count


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The first refresh goes no further than to the members until this is set."""
    may_go_on = asyncio.Event()

    async def read_later(mongo: Mongo, keys: Collection[ThreadKey]) -> Members:
        await may_go_on.wait()
        return await read_members(mongo, keys)

    monkeypatch.setattr(threads, "read_members", read_later)
    return may_go_on


async def refresh_in_one_group(
    mongo: Mongo, held: asyncio.Event, *batches: tuple[list[EncodedChange], list[Written]]
) -> list[int]:
    """The threads of batches that are written, together; how many by each."""
    first = await write(mongo, setting("acti_first", 1, thread_id="acti_first"))
    works = []
    async with asyncio.timeout(10):
        for batch in (first, *batches):
            works.append(asyncio.create_task(refresh_threads(mongo, *batch)))
            await until_only_waiting(mongo, works)
        held.set()
        return (await asyncio.gather(*works))[1:]


async def write(mongo: Mongo, *events: dict[str, Any]) -> tuple[list[EncodedChange], list[Written]]:
    changes = encoded(map(to_change, events))
    return changes, await write_changes(mongo, changes)


async def until_only_waiting(mongo: Mongo, works: list[asyncio.Task[int]]) -> None:
    """One that touches no thread ends."""
    while mongo.refreshes.waiting < sum(not work.done() for work in works):  # noqa: ASYNC110 nothing tells
        await asyncio.sleep(0.001)


async def test_batches_in_flight_refresh_their_threads_together(
    mongo: Mongo, held: asyncio.Event
) -> None:
    batches = [
        [setting(f"acti_{batch}{n}", 1, thread_id=f"acti_t{n}") for n in range(3)]
        for batch in range(4)
    ]

    written = [await write(mongo, *batch) for batch in batches]
    assert await refresh_in_one_group(mongo, held, *written) == [3, 0, 0, 0]

    stored = await stored_threads(mongo)
    del stored["acti_first"]
    events = [event for batch in batches for event in batch]
    assert {ORGANIZATION: stored} == modelled_threads(map(record, events))


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(setting("acti_1", 2, thread_id="acti_t", subject="New"), id="changed"),
        pytest.param(setting("acti_1", 2, thread_id="acti_u"), id="moved"),
        pytest.param(setting("acti_1", 2, type_name="Note"), id="no email any more"),
        pytest.param(deleting("acti_1", 2), id="deleted"),
    ],
)
@pytest.mark.parametrize("is_alone", [False, True])
@pytest.mark.parametrize("is_written_first", [False, True])
@pytest.mark.parametrize("is_refreshed_first", [False, True])
async def test_an_email_of_two_batches_counts_as_it_is_stored(
    mongo: Mongo,
    held: asyncio.Event,
    later: dict[str, Any],
    is_alone: bool,
    is_written_first: bool,
    is_refreshed_first: bool,
) -> None:
    others = [] if is_alone else [setting("acti_2", 1, thread_id="acti_t")]
    batches = [[setting("acti_1", 1, thread_id="acti_t"), *others], [later]]
    events = [event for batch in batches for event in batch]
    if is_written_first:
        batches.reverse()
    written = [await write(mongo, *batch) for batch in batches]
    if is_refreshed_first != is_written_first:
        written.reverse()

    await refresh_in_one_group(mongo, held, *written)

    stored = await stored_threads(mongo)
    del stored["acti_first"]
    assert stored == modelled_threads(map(record, events)).get(ORGANIZATION, {})
    assert await marked(mongo) == set()


@pytest.mark.parametrize("fault", [StoreUnavailable("away"), asyncio.CancelledError()])
async def test_a_refresh_with_a_round_that_ends_otherwise_has_failed(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS_AT_ONCE", 2)
    read_versions = threads.read_versions
    rounds = 0

    async def fail_once(mongo: Mongo, keys: Collection[ThreadKey]) -> Versions:
        nonlocal rounds
        rounds += 1
        if rounds == threads.MAX_ROUNDS_AT_ONCE:
            raise fault
        return await read_versions(mongo, keys)

    monkeypatch.setattr(threads, "read_versions", fail_once)

    with pytest.raises(type(fault)):
        await apply(mongo, *(setting(f"acti_{n}", 1, thread_id=f"acti_{n}") for n in range(50)))

    # The others were ended, and no more begun.
    assert rounds == threads.MAX_ROUNDS_AT_ONCE
    assert len(await stored_threads(mongo)) == 2 * (rounds - 1)
    assert mongo.refreshes.waiting == 0


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_any_mailbox_in_any_order_by_any_writers_is_the_models(
    mongo: Mongo, data: st.DataObject
) -> None:
    log = data.draw(mailboxes())
    arriving = data.draw(arrivals(log))
    writers = data.draw(st.integers(1, 3))
    batch_size = data.draw(st.integers(1, 8))
    in_one_process = data.draw(st.booleans())
    await mongo.activities.delete_many({})

    async def write(records: list[bytes | None]) -> None:
        process = mongo if in_one_process else replace(mongo, refreshes=GroupCommit())
        for start in range(0, len(records), batch_size):
            await apply_changes(process, newest_changes(records[start : start + batch_size]))

    await asyncio.gather(*(write(arriving[number::writers]) for number in range(writers)))

    for organization, expected in modelled_threads(log).items():
        assert await stored_threads(mongo, organization) == expected
        assert await marked(mongo, [organization]) == set()


# PyMongo leaves the socket of a command that was cancelled to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), seed=st.integers(0, 2**32))
async def test_batches_of_one_process_that_fail_or_are_dropped_end_as_the_models(
    mongo: Mongo, data: st.DataObject, seed: int
) -> None:
    chance = random.Random(seed)
    log = data.draw(mailboxes())
    arriving = data.draw(arrivals(log))
    size = data.draw(st.integers(1, 5))
    batches = [arriving[start : start + size] for start in range(0, len(arriving), size)]
    await mongo.activities.delete_many({})
    process = replace(mongo, refreshes=GroupCommit())

    async def write(batch: list[bytes | None]) -> None:
        changes = encoded(newest_changes(batch))
        written = await write_changes(process, changes)
        while True:
            with suppress(StoreUnavailable):
                await refresh_threads(process, changes, written)
                return

    async def work() -> None:
        """A batch that is dropped comes again."""
        while batches:
            batch = batches.pop()
            task = asyncio.create_task(write(batch))
            if chance.random() < 0.3:
                await asyncio.wait([task], timeout=chance.random() / 50)
                task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                batches.append(batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "MAX_JITTER_SECONDS", 0.001)
        patch.setattr(threads, "MAX_THREADS_AT_ONCE", 2)
        for step in ("read_versions", "read_members", "write_threads"):
            patch.setattr(threads, step, unreliable(getattr(threads, step), chance))
        await asyncio.gather(*(work() for _ in range(4)))

    assert process.refreshes.waiting == 0
    for organization, expected in modelled_threads(log).items():
        assert await stored_threads(mongo, organization) == expected
        assert await marked(mongo, [organization]) == set()


def unreliable(
    step: Callable[..., Coroutine[Any, Any, Any]], chance: random.Random
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The step, which now and then fails before it is done or thereafter."""

    async def try_step(*arguments: Any) -> Any:
        if chance.random() < 0.06:
            raise StoreUnavailable("before")
        answer = await step(*arguments)
        if chance.random() < 0.06:
            raise StoreUnavailable("thereafter")
        return answer

    return try_step
