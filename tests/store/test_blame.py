"""Whom MongoDB's codes blame (contract 1.5.5): every one, wherever it may come."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import UpdateOne, errors

from service.activities.events import Change
from service.errors import StoreTimeout, StoreUnavailable
from service.settings import MongoSettings
from service.store import mongo as mongo_module
from service.store.blame import DOCUMENT_CODES, DUPLICATE_KEY, OUTAGE_CODES, Blame
from service.store.bulks import write_unordered
from service.store.mongo import Mongo, connect, ping
from service.store.threads import ThreadsRefused, refresh_threads
from service.store.writes import Outcome, write_changes
from tests.conftest import Driver
from tests.factories import record
from tests.store.conversations import (
    encoded,
    modelled_threads,
    setting,
    stored_threads,
    to_change,
)
from tests.store.refusing import Way, way_to

# Those of the server's `error_codes.yml` that are not among the first 500 numbers, of which the
# server has not given all: they stand for the codes of servers to come.
LATER_CODES = (
    *(8000, 9001, 9996, 10003, 10058, 10107, 10334, 11000, 11600, 11601, 11602, 12586, 12587),
    *(13104, 13113, 13297, 13388, 13435, 13436, 14031, 17280, 17419, 17420, 28769, 31082, 40413),
    *(40414, 40415, 46841, 50768, 50915, 56846, 57986, 91331, 640570, 640571, 1003141, 4662500),
    *(4938500, 9737301, 9751901, 9751902, 9751903, 10045600, 10171600),
)
EVERY_CODE = (*range(1, 501), *LATER_CODES)
# Revisions that are written by an insert, and by an update.
INSERTED, UPDATED = 1, 2


@pytest.fixture
def mongo_driver() -> Driver:
    """One of them: the errors are the same classes, and the codes are many."""
    return "pymongo"


@pytest.fixture
async def way(mongo_server: Any) -> AsyncIterator[Way]:
    async with way_to(mongo_server.url) as way:
        yield way


@pytest.fixture
async def on_the_way(way: Way, mongo: Mongo) -> AsyncIterator[Mongo]:
    """The database of `mongo`, by the way on which operations are refused."""
    async with connect(settings_to(way.url, mongo.activities.database.name)) as connection:
        yield connection


def settings_to(url: str, database: str) -> MongoSettings:
    return MongoSettings(url=SecretStr(url), database=database, timeout_seconds=10)


def note(id_: str, revision: int, **fields: Any) -> Change:
    return to_change(setting(id_, revision, type_name="Note", **fields))


async def outcomes(mongo: Mongo, *changes: Change) -> list[Outcome]:
    return [answer.outcome for answer in await write_changes(mongo, encoded(changes))]


@pytest.mark.parametrize("revision", [INSERTED, UPDATED], ids=["insert", "update"])
async def test_a_write_error_refuses_a_document_only_with_a_code_of_the_table(
    way: Way, on_the_way: Mongo, revision: int
) -> None:
    refused = set()
    for code in EVERY_CODE:
        way.refuse_all(code)
        (outcome,) = await outcomes(on_the_way, note("acti_1", revision))
        assert outcome in (Outcome.REFUSED, Outcome.UNCONFIRMED, Outcome.UNEXPLAINED), code
        assert (outcome is Outcome.UNCONFIRMED) is (code in OUTAGE_CODES), code
        if outcome is Outcome.REFUSED:
            refused.add(code)

    assert refused == set(DOCUMENT_CODES)


async def test_a_command_error_refuses_no_document_that_has_company(
    way: Way, on_the_way: Mongo
) -> None:
    """Whose document it was is found out by trying them apart, which here all go well."""
    found: dict[int, list[Outcome]] = {}
    for code in EVERY_CODE:
        two = [note(f"acti_{place}_{code}", UPDATED) for place in range(2)]
        way.fail("update", code, times=1)
        with suppress(StoreUnavailable, StoreTimeout):
            found[code] = await outcomes(on_the_way, *two)

    # At ReauthenticationRequired the driver tries again by itself.
    assert found.keys() == set(EVERY_CODE) - OUTAGE_CODES | {391}
    assert all(both == [Outcome.APPLIED, Outcome.APPLIED] for both in found.values())


async def test_a_command_error_refuses_a_lone_document_only_with_a_code_of_the_table(
    way: Way, on_the_way: Mongo
) -> None:
    found: dict[int, Outcome] = {}
    for code in EVERY_CODE:
        way.fail("insert", code, times=1)
        with suppress(StoreUnavailable, StoreTimeout):
            (found[code],) = await outcomes(on_the_way, note(f"acti_{code}", INSERTED))

    assert {code for code, one in found.items() if one is Outcome.REFUSED} == set(DOCUMENT_CODES)
    assert {code for code, one in found.items() if one is Outcome.APPLIED} == {391}
    assert found.keys() == set(EVERY_CODE) - OUTAGE_CODES | {391}


async def test_whatever_the_server_says_of_a_find_is_not_now(way: Way, on_the_way: Mongo) -> None:
    for code in EVERY_CODE:
        way.fail("find", code, times=2)
        with pytest.raises((StoreUnavailable, StoreTimeout)):
            await ping(on_the_way)
        way.fail("find", code, times=0)
    await ping(on_the_way)


@pytest.mark.parametrize("code", [2, 8, 121, 10334])
async def test_the_one_document_of_a_batch_that_a_command_fails_for_is_found(
    way: Way, on_the_way: Mongo, code: int
) -> None:
    """As a router does that cannot place it."""

    def refuse(operation: Any) -> Any:
        return {"code": code} if "acti_7!bad" in str(operation.get("_id")) else None

    way.refuse = refuse
    way.refuses_commands = True
    changes = [note(f"acti_{place}", 1) for place in range(50)]
    bad = changes[7]._replace(id="acti_7!bad")

    found = await outcomes(on_the_way, *changes[:7], bad, *changes[8:])

    judged = Outcome.REFUSED if code in DOCUMENT_CODES else Outcome.UNEXPLAINED
    assert found == [judged if place == 7 else Outcome.APPLIED for place in range(50)] or (
        # What a bulk had written before it failed is there already.
        {*found} == {judged, Outcome.APPLIED, Outcome.DUPLICATE} and found[7] is judged
    )
    assert await on_the_way.activities.count_documents({}) == 49


async def test_where_a_command_fails_for_all_nobody_is_to_blame(
    way: Way, on_the_way: Mongo
) -> None:
    way.refuse_all(8)
    way.refuses_commands = True

    found = await outcomes(on_the_way, *(note(f"acti_{place}", 1) for place in range(500)))

    assert Outcome.REFUSED not in found
    assert way.refused <= 10


def test_whatever_the_driver_raises_is_not_now_or_a_defect() -> None:
    """What is left says that the driver is not used as it is meant to be."""
    kinds = _kinds(errors.PyMongoError)
    assert len(kinds) > 20

    defects = {
        kind
        for kind in kinds
        if not isinstance(mongo_module._translate(_instance(kind)), StoreUnavailable | StoreTimeout)
    }

    assert defects == {
        errors.InvalidOperation,  # a client that is closed
        errors.InvalidName,
        errors.CollectionInvalid,
        errors.EncryptionError,  # nothing is encrypted here
        errors.EncryptedCollectionError,
    }


def _kinds(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_kinds(one) for one in kind.__subclasses__()))


def _instance(kind: type[Exception]) -> Any:
    instance = kind.__new__(kind)
    Exception.__init__(instance, "said")
    for name, value in {"_OperationFailure__code": 8, "_OperationFailure__details": {}}.items():
        setattr(instance, name, value)
    return instance


async def test_what_the_driver_itself_finds_too_large_is_the_documents(mongo: Mongo) -> None:
    def update(id_: str, size: int) -> UpdateOne:
        document = {"_id": f"orga_1!{id_}", "organization_id": "orga_1"}
        pipeline = [{"$replaceWith": {"$literal": document | {"text": "x" * size}}}]
        return UpdateOne(document, pipeline, upsert=True, hint="_id_")

    faults = await write_unordered(mongo, [update("acti_1", 1), update("acti_2", 17 * 2**20)])

    assert faults.keys() == {1}
    assert faults[1].blame is Blame.DOCUMENT
    assert faults[1].is_too_large
    assert await mongo.activities.count_documents({}) == 1


async def test_only_the_id_makes_a_change_stale(mongo: Mongo) -> None:
    """An index of an operator's own keeps documents out, and they are not there."""
    await mongo.activities.create_index("note", unique=True, name="own")
    assert await outcomes(mongo, note("acti_1", 1, note="one")) == [Outcome.APPLIED]

    answers = await write_changes(
        mongo,
        encoded(
            [
                note("acti_1", 1, note="one"),
                note("acti_2", 1, note="one"),
                note("acti_3", 2, note="one"),
                note("acti_4", 1, note="four"),
            ]
        ),
    )

    assert [answer.outcome for answer in answers] == [
        Outcome.DUPLICATE,
        Outcome.UNEXPLAINED,
        Outcome.UNEXPLAINED,
        Outcome.APPLIED,
    ]
    assert "a unique index over note is not one of ours" in answers[1].reason
    assert "one" not in answers[1].reason.replace("is not one of ours", "")


@pytest.mark.parametrize(
    ("errmsg", "outcome"),
    [
        ("E11000 duplicate key error collection: a.activities index: _id_ dup key", Outcome.STALE),
        ("E11000 duplicate key error collection: a.activities index: own dup", Outcome.UNEXPLAINED),
        ("", Outcome.UNEXPLAINED),
    ],
)
async def test_a_duplicate_key_without_its_pattern_is_known_by_the_name_of_its_index(
    way: Way, on_the_way: Mongo, errmsg: str, outcome: Outcome
) -> None:
    assert await outcomes(on_the_way, note("acti_1", 2)) == [Outcome.APPLIED]
    way.refuse_all(DUPLICATE_KEY, errmsg=errmsg)

    assert await outcomes(on_the_way, note("acti_1", 1)) == [outcome]


async def test_a_refused_thread_is_only_of_those_whose_emails_are_in_it(
    way: Way, on_the_way: Mongo
) -> None:
    """Others that share its refresh go on."""
    way.refuse = lambda one: {"code": 8} if one.get("_id") == "orga_1!acti_bad!thread" else None
    events = [
        setting(f"acti_{thread}", 1, thread_id=f"acti_{thread}") for thread in ("a", "bad", "c")
    ]
    changes = encoded(map(to_change, events))
    written = await write_changes(on_the_way, changes)

    with pytest.raises(ThreadsRefused) as raised:
        await refresh_threads(on_the_way, changes, written)

    assert set(raised.value.faults) == {1}
    assert await stored_threads(on_the_way) == modelled_threads(map(record, events[::2]))["orga_1"]
    way.refuse = lambda _: None
    await refresh_threads(on_the_way, changes, written)
    assert await stored_threads(on_the_way) == modelled_threads(map(record, events))["orga_1"]


async def test_a_thread_left_is_remembered_while_it_is_refused(way: Way, on_the_way: Mongo) -> None:
    events = [setting("acti_1", 1, thread_id="acti_a"), setting("acti_1", 2, thread_id="acti_b")]
    for event in events:
        changes = encoded([to_change(event)])
        written = await write_changes(on_the_way, changes)
        way.refuse = lambda one: (
            {"code": 8} if one.get("q", {}).get("_id") == "orga_1!acti_a!thread" else None
        )
        if event is events[0]:
            way.refuse = lambda _: None
            await refresh_threads(on_the_way, changes, written)
            continue
        with pytest.raises(ThreadsRefused) as raised:
            await refresh_threads(on_the_way, changes, written)
        assert set(raised.value.faults) == {0}

    document = await on_the_way.activities.find_one({"_id": "orga_1!acti_1"})
    assert document["_meta"]["left_threads"] == ["acti_a"]
    way.refuse = lambda _: None
    await refresh_threads(on_the_way, changes, written)
    assert await stored_threads(on_the_way) == modelled_threads(map(record, events))["orga_1"]
