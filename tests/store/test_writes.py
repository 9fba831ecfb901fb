"""A write can only ever raise an activity's revision, whatever comes when (I3)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from service.activities.events import Change
from service.errors import Rejected
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from service.store.writes import MAX_DOCUMENT_BYTES, Outcome, encode_change, write_changes
from tests.commands import CommandWatch
from tests.conftest import Driver
from tests.examples import examples
from tests.factories import arrivals, event_logs
from tests.store.conversations import (
    ORGANIZATION,
    deleting,
    encoded,
    newest_changes,
    setting,
    to_change,
)

APPLIED, STALE, DUPLICATE = Outcome.APPLIED, Outcome.STALE, Outcome.DUPLICATE
REFUSED = Outcome.REFUSED
UPSERT = "hangBeforeUpsertPerformsInsert"
ODD = {"a.b": 1, "": {"": 2}, "$c": {"$set": "$d"}, "Price in $. (net)": ["$$NOW", {"$e": None}]}


async def outcomes(mongo: Mongo, *changes: Change) -> list[Outcome]:
    return [answer.outcome for answer in await write_changes(mongo, encoded(changes))]


async def stored(mongo: Mongo, id_: str = "acti_1") -> dict[str, Any]:
    document: dict[str, Any] = await mongo.activities.find_one({"_id": f"{ORGANIZATION}!{id_}"})
    return document


def note(id_: str, revision: int, **fields: Any) -> Change:
    return to_change(setting(id_, revision, type_name="Note", **fields))


def email(id_: str, revision: int, thread: str) -> Change:
    return to_change(setting(id_, revision, thread_id=thread))


def delete(id_: str, revision: int) -> Change:
    return to_change(deleting(id_, revision))


def expected_document(change: Change) -> dict[str, Any]:
    """What is stored of a change when it is the newest of its activity."""
    document: dict[str, Any] = {
        "_id": f"{change.organization_id}!{change.id}",
        "organization_id": change.organization_id,
        "_meta": {"revision": change.revision},
    }
    if change.activity is None:
        return document
    if change.thread_id is not None:
        document["_meta"]["thread"] = change.thread_id
    return change.activity | document | {"id": change.id}


async def test_the_newest_revision_stays_whatever_comes_later(mongo: Mongo) -> None:
    assert await outcomes(mongo, note("acti_1", 2, note="two")) == [APPLIED]
    assert await outcomes(mongo, note("acti_1", 1, note="one")) == [STALE]
    assert await outcomes(mongo, note("acti_1", 2, note="two")) == [DUPLICATE]
    assert await outcomes(mongo, note("acti_1", 3, note="three")) == [APPLIED]

    assert await stored(mongo) == expected_document(note("acti_1", 3, note="three"))


@pytest.mark.parametrize("mongo_driver", ["pymongo"])  # Motor's commands cannot be told apart
async def test_what_makes_a_change_stale_is_held_by_a_majority(
    mongo: Mongo, commands: CommandWatch
) -> None:
    await outcomes(mongo, note("acti_1", 2))

    assert await outcomes(mongo, note("acti_1", 1)) == [STALE]

    assert [find["readConcern"]["level"] for find in commands.finds] == ["majority"]


async def test_a_delete_wins_for_good_even_when_it_comes_first(mongo: Mongo) -> None:
    assert await outcomes(mongo, delete("acti_1", 2)) == [APPLIED]
    assert await outcomes(mongo, note("acti_1", 1)) == [STALE]

    marker = await stored(mongo)

    now = datetime.now(UTC).replace(tzinfo=None)
    assert now - marker["_meta"].pop("deleted_at") < timedelta(minutes=1)
    assert marker == expected_document(delete("acti_1", 2))


async def test_a_newer_revision_revives_a_deleted_activity(mongo: Mongo) -> None:
    for change in (note("acti_1", 1), delete("acti_1", 2), note("acti_1", 3)):
        assert await outcomes(mongo, change) == [APPLIED]

    document = await stored(mongo)
    assert document["_meta"].pop("left_leads") == ["lead_1"]
    assert document == expected_document(note("acti_1", 3))


async def test_odd_keys_survive_every_way_in(mongo: Mongo) -> None:
    for revision, thread in ((1, "acti_a"), (2, "acti_a"), (3, "acti_b")):
        change = email("acti_1", revision, thread)
        activity = (change.activity or {}) | {"odd": ODD, "custom.cf_1": "x", "": 0}
        await write_changes(mongo, encoded([change._replace(activity=activity)]))

        document = await stored(mongo)
        assert document["odd"] == ODD
        assert document["custom.cf_1"] == "x"
        assert document[""] == 0

    assert document["_meta"]["left_threads"] == ["acti_a"]


async def test_leads_left_are_carried_on_until_cleared(mongo: Mongo) -> None:
    left = []
    for change in (
        note("acti_1", 1, lead_id="lead_1"),
        note("acti_1", 2, lead_id="lead_1"),
        note("acti_1", 3, lead_id="lead_2"),
        note("acti_1", 4, lead_id=None),
        note("acti_1", 5, lead_id=None),
        note("acti_1", 6, lead_id="lead_3"),
        delete("acti_1", 7),
        note("acti_1", 8, lead_id="lead_1"),
    ):
        assert await outcomes(mongo, change) == [APPLIED]
        left.append((await stored(mongo))["_meta"].get("left_leads", []))

    two, three = ["lead_1", "lead_2"], ["lead_1", "lead_2", "lead_3"]
    assert left == [[], [], ["lead_1"], two, two, two, three, three]


async def test_threads_left_are_carried_on_until_cleared(mongo: Mongo) -> None:
    left = []
    for change in (
        email("acti_1", 1, "acti_a"),
        email("acti_1", 2, "acti_a"),
        email("acti_1", 3, "acti_b"),
        note("acti_1", 4),
        note("acti_1", 5),
        email("acti_1", 6, "acti_b"),
        delete("acti_1", 7),
        delete("acti_1", 8),
    ):
        await write_changes(mongo, encoded([change]))
        left.append(sorted((await stored(mongo))["_meta"].get("left_threads", [])))

    both = ["acti_a", "acti_b"]
    assert left == [[], [], ["acti_a"], both, both, both, both, both]


async def test_outcomes_stand_in_the_order_of_the_changes(mongo: Mongo) -> None:
    await outcomes(mongo, note("acti_1", 2), note("acti_3", 1), email("acti_5", 1, "acti_t"))

    written = await outcomes(
        mongo,
        note("acti_1", 1),
        note("acti_3", 2),
        note("acti_4", 1),
        email("acti_5", 2, "acti_u"),
        delete("acti_7", 2),
    )

    assert written == [STALE, APPLIED, APPLIED, APPLIED, APPLIED]
    assert await stored(mongo, "acti_3") == expected_document(note("acti_3", 2))


@pytest.mark.parametrize(
    ("field", "code", "reason"),
    [
        ({"note": "x" * MAX_DOCUMENT_BYTES}, "too_large", "bytes of BSON"),
        ({"number": 2**70}, "invalid_activity", "not BSON: OverflowError"),
    ],
)
def test_what_no_document_can_hold_is_refused_before_it_is_written(
    field: dict[str, Any], code: str, reason: str
) -> None:
    change = note("acti_1", 1)._replace(activity={"id": "acti_1", **field})

    with pytest.raises(Rejected, match=reason) as caught:
        encode_change(change)

    assert caught.value.code == code
    assert caught.value.event_id == change.event_id


async def test_a_document_that_only_the_server_finds_too_large_is_refused_alone(
    mongo: Mongo,
) -> None:
    await outcomes(mongo, email("acti_1", 1, "acti_t"))
    moved = email("acti_1", 2, "acti_u")
    spare = MAX_DOCUMENT_BYTES - len(encode(expected_document(moved)))
    text = (moved.activity or {})["body_text"]
    largest = moved._replace(activity=(moved.activity or {}) | {"body_text": text + "x" * spare})

    written = await write_changes(mongo, encoded([note("acti_2", 2), largest]))

    assert [answer.outcome for answer in written] == [APPLIED, REFUSED]
    assert written[1].is_too_large
    assert (await stored(mongo))["_meta"]["revision"] == email("acti_1", 1, "acti_t").revision


async def test_a_batch_larger_than_one_message_is_written_whole(mongo: Mongo) -> None:
    text = "x" * (MAX_DOCUMENT_BYTES - 10_000)
    await outcomes(mongo, note("acti_3", 2))

    written = await outcomes(mongo, *(note(f"acti_{n}", 1, note=text) for n in range(5)))

    assert written == [APPLIED, APPLIED, APPLIED, STALE, APPLIED]


async def test_of_two_upserts_of_a_new_activity_the_newer_always_wins(mongo: Mongo) -> None:
    races, at_once = 750, 5
    for start in range(0, races, at_once):
        pairs = [
            (note(f"acti_{n}", 2), note(f"acti_{n}", 3)) for n in range(start, start + at_once)
        ]

        writing = [outcomes(mongo, one) for pair in pairs for one in (pair, pair[::-1])[start % 2]]
        await asyncio.gather(*writing)

    newest = {"_meta.revision": note("acti_1", 3).revision}
    assert await mongo.activities.count_documents(newest) == races


async def test_an_upsert_that_loses_the_race_to_an_older_one_is_repeated(
    breakable_mongo_server: MongoServer, mongo_driver: Driver, database_name: str
) -> None:
    settings_ = MongoSettings(
        url=SecretStr(breakable_mongo_server.url), database=database_name, driver=mongo_driver
    )
    async with connect(settings_) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        for race in range(10):
            # Both find nothing, and only then either inserts.
            entered = await set_failpoint(mongo, "alwaysOn")
            newer = asyncio.create_task(outcomes(mongo, note(f"acti_{race}", 3)))
            older = asyncio.create_task(outcomes(mongo, note(f"acti_{race}", 2)))
            await mongo.client.admin.command(
                "waitForFailPoint", UPSERT, timesEntered=entered + 2, maxTimeMS=10_000
            )
            await set_failpoint(mongo, "off")

            assert await newer == [APPLIED]
            assert (await older)[0] in (APPLIED, STALE)
            assert await stored(mongo, f"acti_{race}") == expected_document(note(f"acti_{race}", 3))


async def set_failpoint(mongo: Mongo, mode: str) -> int:
    """Make upserts that match nothing wait, or go on; answer how many have waited so far."""
    answer = await mongo.client.admin.command("configureFailPoint", UPSERT, mode=mode)
    return int(answer["count"])


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_any_order_and_repetition_gives_the_same_store(
    mongo: Mongo, data: st.DataObject
) -> None:
    log = data.draw(event_logs(with_bad=False))
    arriving = data.draw(arrivals(log))
    batch_size = data.draw(st.integers(1, 10))
    await mongo.activities.delete_many({})

    async def write(records: list[bytes | None]) -> None:
        for start in range(0, len(records), batch_size):
            await write_changes(mongo, encoded(newest_changes(records[start : start + batch_size])))

    await asyncio.gather(write(arriving[::2]), write(arriving[1::2]))

    found = [document async for document in mongo.activities.find({})]
    for document in found:
        document["_meta"].pop("left_threads", None)
        document["_meta"].pop("left_leads", None)
        assert ("deleted_at" in document["_meta"]) is (
            "_type" not in document and "id" not in document
        )
        document["_meta"].pop("deleted_at", None)
    expected = [expected_document(change) for change in newest_changes(log)]
    assert sorted(found, key=lambda one: one["_id"]) == sorted(expected, key=lambda one: one["_id"])
