"""Documents that a hand or a script has written stop no writer (contract 1.5.4)."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import DatetimeMS, ObjectId

from service.observability import MEMBERS_UNREADABLE
from service.store import oddities
from service.store.mongo import Mongo
from service.store.threads import refresh_threads
from service.store.writes import Outcome, write_changes
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

KEY = f"{ORGANIZATION}!acti_1"
OUT_OF_RANGE = DatetimeMS(2**60)


async def apply(mongo: Mongo, *events: dict[str, Any]) -> list[Outcome]:
    changes = encoded(map(to_change, events))
    written = await write_changes(mongo, changes)
    await refresh_threads(mongo, changes, written)
    return [answer.outcome for answer in written]


async def passed_over() -> float:
    (sample, *_) = next(iter(MEMBERS_UNREADABLE.collect())).samples
    return sample.value


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {"_meta": None},
        {"_meta": 5},
        {"_meta": {}},
        {"_meta": {"revision": None}},
        {"_meta": {"revision": 9}},
        {"_meta": {"revision": OUT_OF_RANGE, "left_threads": 5, "thread": 7}},
        {"_meta": {"revision": datetime(2026, 1, 2, tzinfo=UTC), "left_threads": ["acti_x", 5]}},
        {"_meta": {"revision": ObjectId(), "thread": "acti_old", "deleted_at": OUT_OF_RANGE}},
    ],
)
@pytest.mark.parametrize(
    "event",
    [
        setting("acti_1", 1, thread_id="acti_t"),
        setting("acti_1", 2, thread_id="acti_t"),
        setting("acti_1", 2, type_name="Note"),
        deleting("acti_1", 2),
    ],
    ids=["created", "updated", "note", "deleted"],
)
async def test_a_revision_that_is_none_is_the_lowest(
    mongo: Mongo, meta: dict[str, Any] | None, event: dict[str, Any]
) -> None:
    written = {"_id": KEY, "organization_id": ORGANIZATION, "id": "acti_1"}
    await mongo.activities.insert_one(written | (meta or {}))

    assert await apply(mongo, event) == [Outcome.APPLIED]
    assert await apply(mongo, event) == [Outcome.DUPLICATE]

    stored = await mongo.activities.find_one({"_id": KEY})
    assert stored["_meta"]["revision"] == to_change(event).revision
    assert stored.get("_type") == (event["data"] or {}).get("_type")
    assert await stored_threads(mongo) == modelled_threads([record(event)]).get(ORGANIZATION, {})


@pytest.mark.parametrize(
    "odd",
    [
        {"organization_id": "orga_2"},
        {"organization_id": ORGANIZATION, "_meta": {"revision": ["z"]}},
    ],
    ids=["another's", "several revisions"],
)
async def test_what_stands_in_the_way_is_told_and_not_taken_for_newer(
    mongo: Mongo, odd: dict[str, Any]
) -> None:
    await mongo.activities.insert_one({"_id": KEY, **odd})

    assert await apply(mongo, setting("acti_1", 1)) == [Outcome.UNEXPLAINED]


@pytest.mark.parametrize(
    "odd",
    [
        {"activity_at": "yesterday"},
        {"activity_at": None},
        {"activity_at": OUT_OF_RANGE},
        {"date_updated": 5},
        {"sender": 5, "envelope": None},
        {"user_id": ["user_1"]},
        {"contact_id": {"a": 1}},
        {"_meta.thread": ["acti_t", "acti_u"]},
        {"id": 5},
        {"id": None},
    ],
    ids=str,
)
async def test_a_member_that_cannot_be_read_is_passed_over(
    mongo: Mongo, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good = [setting(f"acti_{n}", 1, thread_id="acti_t") for n in range(3)]
    await apply(mongo, *good, setting("acti_odd", 1, thread_id="acti_t"))
    oddities._named.clear()
    before = await passed_over()
    await mongo.activities.update_one({"_id": f"{ORGANIZATION}!acti_odd"}, {"$set": odd})
    later = setting("acti_3", 1, thread_id="acti_t")

    with caplog.at_level(logging.WARNING):
        for event in (later, setting("acti_3", 2, thread_id="acti_t")):
            assert await apply(mongo, event) == [Outcome.APPLIED]

    last = setting("acti_3", 2, thread_id="acti_t")
    assert await stored_threads(mongo) == modelled_threads(map(record, [*good, last]))[ORGANIZATION]
    if "_meta.thread" not in odd:
        assert await passed_over() >= before + 2
        (named,) = [vars(one) for one in caplog.records if "cannot be read" in one.message]
        assert named["organization_id"] == ORGANIZATION


async def test_odd_fields_that_only_the_newest_show_are_shown_as_they_are(mongo: Mongo) -> None:
    await apply(mongo, setting("acti_1", 1, thread_id="acti_t"))
    odd = {"subject": 5, "to": "x", "envelope": [], "opens_summary": 7}
    await mongo.activities.update_one({"_id": KEY}, {"$set": odd})

    await apply(mongo, setting("acti_2", 1, thread_id="acti_t"))

    (thread,) = (await stored_threads(mongo)).values()
    assert thread["n_emails"] == 2
    assert [email["subject"] for email in thread["latest_emails"]].count(5) == 1


@pytest.mark.parametrize(
    "change",
    [{"$unset": {"_meta": ""}}, {"$set": {"_meta.version": 5}}, {"$unset": {"_meta.version": ""}}],
    ids=["no meta", "a number", "no version"],
)
async def test_a_thread_that_a_hand_has_changed_is_made_right(
    mongo: Mongo, change: dict[str, Any]
) -> None:
    events = [setting(f"acti_{n}", 1, thread_id="acti_t") for n in range(2)]
    await apply(mongo, events[0])
    await mongo.activities.update_one({"_id": f"{ORGANIZATION}!acti_t!thread"}, change)

    await apply(mongo, events[1])

    assert await stored_threads(mongo) == modelled_threads(map(record, events))[ORGANIZATION]
