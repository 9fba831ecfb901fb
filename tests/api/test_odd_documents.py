"""Documents that MongoDB holds and JSON does not: shown, counted, named, in nobody's way (contract
3.6). Only a hand or a script writes such, so here a hand writes them."""

import logging
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    encode,
)
from bson.raw_bson import RawBSONDocument

from service.observability import ODD_DOCUMENTS
from service.store.mongo import Mongo
from tests.api.conftest import Api
from tests.factories import activity, event, record

NOON = datetime(2026, 1, 2, 12)
ROWS = 300
EVERY = 20

# The value of a field, and what is shown of it.
VALUES: dict[str, tuple[Any, Any]] = {
    "decimal": (Decimal128("1.50"), {"$numberDecimal": "1.50"}),
    "object id": (ObjectId("0123456789ab0123456789ab"), {"$oid": "0123456789ab0123456789ab"}),
    "binary": (Binary(b"\x00\xff", 0), {"$binary": {"base64": "AP8=", "subType": "00"}}),
    "uuid": (Binary(b"0123456789abcdef", 4), None),
    "regex": (Regex("^a", "i"), {"$regularExpression": {"pattern": "^a", "options": "i"}}),
    "timestamp": (Timestamp(7, 8), {"$timestamp": {"t": 7, "i": 8}}),
    "min key": (MinKey(), {"$minKey": 1}),
    "max key": (MaxKey(), {"$maxKey": 1}),
    "code": (Code("x"), {"$code": "x"}),
    "reference": (DBRef("a", "b"), {"$ref": "a", "$id": "b"}),
    "late date": (DatetimeMS(253_402_300_800_000), None),
    "early date": (DatetimeMS(-(2**63)), None),
    "nested": ({"a": [MinKey()]}, {"a": [{"$minKey": 1}]}),
}
# The document's own fields, in place of what an activity has.
SORT_TIMES: dict[str, dict[str, Any]] = {
    "null time": {"date_created": None, "activity_at": None},
    "late time": {
        name: DatetimeMS(300_000_000_000_000) for name in ("date_created", "activity_at")
    },
    "early time": {name: DatetimeMS(-(2**62)) for name in ("date_created", "activity_at")},
}


def document(number: int, **fields: Any) -> dict[str, Any]:
    at = NOON + timedelta(minutes=number)
    return {
        "_id": f"orga_1!acti_{number:03}",
        "id": f"acti_{number:03}",
        "organization_id": "orga_1",
        "_type": "Note",
        "lead_id": "lead_1",
        "date_created": at,
        "activity_at": at,
        "note": f"number {number}",
        "_meta": {"revision": f"{0:020d}/ev_{number}"},
        **fields,
    }


def odd_documents() -> list[Any]:
    """One of each kind, far apart among the others."""
    odd: list[Any] = [document(0, note=value) for value, _ in VALUES.values()]
    odd += [document(0, **fields) for fields in SORT_TIMES.values()]
    without = document(0)
    del without["date_created"], without["activity_at"]
    odd.append(without)
    broken = encode(document(0, note="no UTF-8: XY")).replace(b"XY", b"\xc3\x28")
    odd.append(broken)
    return odd


def placed(odd: Any, number: int) -> Any:
    """The document under another number, its time along with it where it has one."""
    if isinstance(odd, bytes):
        bare = encode(document(number, note="no UTF-8: XY"))
        return RawBSONDocument(bare.replace(b"XY", b"\xc3\x28"))
    own = document(number)
    plain = document(0)
    return {name: own[name] if value == plain.get(name) else value for name, value in odd.items()}


@pytest.fixture
async def odd_ids(mongo: Mongo) -> list[str]:
    """A lead of 300 rows, some of them odd; the ids of these."""
    rows: list[Any] = [document(number) for number in range(ROWS)]
    kinds = odd_documents()
    places = range(3, ROWS, ROWS // len(kinds))[: len(kinds)]
    for place, odd in zip(places, kinds, strict=True):
        rows[place] = placed(odd, place)
    await mongo.activities.insert_many(rows)
    return [f"acti_{place:03}" for place in places]


WALKS = [
    [],
    [("_order_by", "date_created")],
    [("lead_id", "lead_1")],
    [("lead_id", "lead_1"), ("_order_by", "activity_at")],
    [("lead_id", "lead_1"), ("_order_by", "-activity_at"), ("thread_emails", "true")],
    [("_fields", "id,note")],
]


@pytest.mark.parametrize("parameters", WALKS)
async def test_a_walk_shows_each_once(
    api: Api, odd_ids: list[str], parameters: list[tuple[str, str]]
) -> None:
    rows = await api.walk("/activity/", [*parameters, ("_limit", "7")])

    assert sorted(row["id"] for row in rows) == [f"acti_{number:03}" for number in range(ROWS)]
    assert len(odd_ids) == len(VALUES) + len(SORT_TIMES) + 2


async def test_what_json_lacks_is_shown_as_extended_json_or_null(
    api: Api, odd_ids: list[str]
) -> None:
    for (name, (_, shown)), odd_id in zip(VALUES.items(), odd_ids, strict=False):
        reply = await api.ask(f"/activity/{odd_id}/")

        assert reply.status == 200, name
        if name == "uuid":
            assert set(reply.content["note"]["$binary"]) == {"base64", "subType"}
        else:
            assert reply.content["note"] == shown, name
        assert re.fullmatch(r"2026-01-02T\d\d:\d\d:00\+00:00", reply.content["date_created"])
    broken = await api.ask(f"/activity/{odd_ids[-1]}/")
    assert broken.content["note"] == "no UTF-8: \ufffd("


async def test_it_is_counted_and_named_once(
    api: Api, odd_ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = ODD_DOCUMENTS._value.get()
    with caplog.at_level(logging.WARNING, "service"):
        for _ in range(2):
            await api.ask(f"/activity/{odd_ids[0]}/", organization="orga_1")

    assert ODD_DOCUMENTS._value.get() == before + 2
    told = [entry for entry in caplog.records if entry.message == "odd document"]
    # Once for all of this process: whoever was told in another test is not told again.
    assert {(entry.__dict__["organization_id"], entry.__dict__["id"]) for entry in told} <= {
        ("orga_1", odd_ids[0])
    }
    assert len(told) <= 1


async def test_one_that_has_no_id_stops_no_page(api: Api, mongo: Mongo) -> None:
    await api.apply([record(event(activity("Note", id="acti_1")))])
    nameless = document(5)
    del nameless["id"]
    await mongo.activities.insert_one(nameless)

    rows = await api.walk("/activity/", [("_limit", "1")])

    assert sorted(row.get("id", "") for row in rows) == ["", "acti_1"]


async def test_an_odd_email_is_stripped_like_any_other(api: Api, mongo: Mongo) -> None:
    email = {**document(7, _type="Email"), "body_text": "long", "date_updated": DatetimeMS(2**62)}
    await mongo.activities.insert_one(email)

    reply = await api.ask("/activity/", [("thread_emails", "true")])

    (row,) = reply.content["data"]
    assert row["id"] == "acti_007"
    assert row["date_updated"] is None
    assert "body_text" not in row
