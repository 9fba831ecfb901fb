"""How MongoDB answers every shape of find that the parser can produce (I1).

The finds are the store's own, caught on their way to the server and explained there: what they
examine must not grow with what is stored, only with what is answered.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from service.activities.types import TYPES
from service.listing.query import MAX_SCANS, Cursor, Query
from service.store.mongo import Mongo
from service.store.plans import EMAIL_BODIES, to_finds, to_projection
from service.store.threads import refresh_threads
from service.store.writes import EncodedChange, write_changes
from tests.commands import CommandWatch
from tests.conftest import Driver
from tests.store.conversations import encoded, setting, stored_threads, to_change
from tests.store.listing import CURSORS, NOON, Listing, Pairs, document

# Keys examined beyond those answered: each scan looks one key further than it gives.
KEYS_PER_ROW = 2
KEYS_PER_SCAN = 2
# Their matches are residual, or sorted here: MongoDB has to look at what it does not answer.
EXEMPT = {
    "user_id",
    "contact_id",
    "actitype_1",
    "custom_activity_type_id",
    "own filter beside a lead",
    "id__in",
}

# More values than MongoDB merges: it sorts their keys, and fetches the page alone.
SORTED_BY_MONGODB = "more than 200 forms"

LEADS = [f"lead_{number}" for number in range(100)]
LEAD, SEVERAL, MANY = (
    [("lead_id", "lead_0")],
    [("lead_id", ",".join(LEADS[:10]))],
    [("lead_id", ",".join(LEADS[:30]))],
)
ASCENDING = [("_order_by", "date_created")]
WINDOW = [("date_created__gt", "2026-01-02T13:00:00"), ("date_created__lte", "2026-01-03")]
MOMENT = [
    ("date_created__gte", "2026-01-02T13:00:00"),
    ("date_created__lte", "2026-01-02T13:00:00"),
]
MODES = ["", "true", "only"]

Shape = tuple[str, Pairs, str | None]


def shapes() -> Iterator[Shape]:
    """Name (for `EXEMPT`), parameters, own list."""
    windows = [WINDOW, [*ASCENDING, *WINDOW], MOMENT, [*ASCENDING, *MOMENT]]
    paging = [[], ASCENDING, *windows, [("_skip", "150")], [("_limit", "0")]]
    for leads, mode, more in product(([], LEAD, SEVERAL, MANY), MODES, paging):
        yield "listing", [*leads, ("thread_emails", mode), *more], None
    for order, mode in product(["-activity_at", "activity_at"], MODES):
        bounds = ("activity_at__lt", "2026-01-03")
        asked = [*LEAD, ("_order_by", order), ("thread_emails", mode)]
        yield "listing", asked, None
        yield "listing", [*asked, bounds], None
        yield "listing", asked, "Call"
    for name in ("Call", "ImportUpdate", "Email", "Custom", "Call,Note", "EmailThread"):
        for mode in MODES:
            yield "listing", [*LEAD, ("_type", name), ("thread_emails", mode)], None
    for name, mode in product(("user_id", "contact_id"), MODES):
        asked = [(name, "user_1,user_2"), ("thread_emails", mode)]
        yield name, [*LEAD, *asked], None
        yield name, [*LEAD, *asked, ("_type", "Email")], None
        yield name, asked, "Email"
        yield name, [*MANY, *asked], "Call"
    yield "actitype_1", [*LEAD, ("_type", "actitype_1")], None
    yield "actitype_1", [*LEAD, ("_type", "Note,actitype_1")], None
    for mode in MODES:
        yield "id__in", [("id__in", ",".join(IDS)), ("thread_emails", mode)], None
        yield "id__in", [*LEAD, ("id__in", ",".join(IDS)), ("thread_emails", mode)], None
    for type_ in TYPES:
        for leads, more in product(([], LEAD, MANY), ([], [*ASCENDING, *WINDOW])):
            yield "listing", [*leads, *more], type_.name
    yield from own_filters()


def own_filters() -> Iterator[Shape]:
    filters = {
        "opportunity_id": "OpportunityStatusChange",
        "form_id": "FormSubmission",
        "external_whatsapp_message_id": "WhatsAppMessage",
    }
    for (name, own), values in product(filters.items(), ("some_0", "some_0,some_1")):
        yield name, [(name, values)], own
        yield name, [(name, values), *ASCENDING, *WINDOW], own
        yield "own filter beside a lead", [*LEAD, (name, values)], own
    for count in (100, 201, 1000):
        several = ",".join(f"some_{number}" for number in range(count))
        name = "form_id" if count <= MAX_SCANS else SORTED_BY_MONGODB
        yield name, [("form_id__in", several)], "FormSubmission"
    yield (
        "custom_activity_type_id",
        [*LEAD, ("custom_activity_type_id", "some_0")],
        "CustomActivity",
    )


IDS = [f"acti_{number:05d}" for number in range(0, 1500, 15)]


def documents() -> Iterator[dict[str, Any]]:
    """Every type, one large lead and many small ones, ties of three, and a neighbour's the same."""
    for number in range(9000):
        type_name = TYPES[number % len(TYPES)].name
        suffix = "!thread" if type_name == "EmailThread" else ""
        people = [f"user_{number % 7}"]
        row = document(
            f"acti_{number:05d}{suffix}",
            type_name,
            lead_id=LEADS[number * 7 // 15 % 100] if number % 2 else "lead_0",
            minutes=number // 3,
            organization_id="orga_2" if number % 9 == 8 else "orga_1",
            user_id=people[0],
            contact_id=None,
            opportunity_id=f"some_{number % 4}",
            form_id=f"some_{number % 4}",
            external_whatsapp_message_id=f"some_{number % 4}",
            custom_activity_type_id=f"actitype_{number % 3}",
        )
        row["_meta"] |= {"user_ids": people, "contact_ids": []} if suffix else {}
        yield row


@pytest.fixture
def mongo_driver() -> Driver:
    """A plan is the server's, and only PyMongo's commands can be told apart."""
    return "pymongo"


async def test_every_shape_is_answered_from_its_index(mongo: Mongo, commands: CommandWatch) -> None:
    await mongo.activities.insert_many(list(documents()))
    listing, explained = Listing(mongo), set[str]()

    for name, parameters, own in shapes():
        commands.clear()
        _, cursor = await listing.page(parameters, own)
        if cursor is not None:
            rest = [pair for pair in parameters if pair[0] != "_skip"]
            await listing.page([*rest, ("_cursor", cursor)], own)
        shown = f"{parameters}"[:200] + f" {own}"
        assert commands.finds, shown
        for find in commands.finds:
            explained.add(find["hint"])
            assert not list(_faults(name, find, await _explain(mongo, find))), shown

    assert explained == {
        "_id_",
        "lead_activity_at",
        "lead_date_created",
        "organization_date_created",
        "opportunity",
        "form",
        "external_whatsapp_message",
    }


async def test_a_page_inside_a_tie_costs_what_another_costs(
    mongo: Mongo, commands: CommandWatch
) -> None:
    """One find with `$or` would examine all of the tie, again for each of its pages."""
    await mongo.activities.insert_many([document(f"acti_{n:05d}") for n in range(5000)])
    listing = Listing(mongo)
    cursor = CURSORS.encode(listing.parse([]), Cursor(_milliseconds(), "acti_02500"))

    commands.clear()
    body, _ = await listing.page([("_cursor", cursor)])

    assert [row["id"] for row in body["data"]] == [f"acti_{n:05d}" for n in range(2499, 2399, -1)]
    assert [_keys(await _explain(mongo, find)) <= 130 for find in commands.finds] == [True]


async def test_single_activities_and_threads_are_found_by_key(
    mongo: Mongo, commands: CommandWatch
) -> None:
    thread = document("thread_1!thread", "EmailThread")
    members = [document(f"acti_{number}", "Email") for number in range(50)]
    for member in members:
        member["_meta"]["thread"] = "thread_1"
    await mongo.activities.insert_many([thread, *members, *documents()])
    commands.clear()

    assert len((await Listing(mongo).one("thread_1"))["emails"]) == 50
    assert await Listing(mongo).one("acti_1", own="Email")

    plans = [await _explain(mongo, find) for find in commands.finds]
    assert [find["hint"] for find in commands.finds] == ["_id_", "thread_members", "_id_"]
    assert [plan["totalDocsExamined"] for plan in plans] == [1, 50, 1]
    assert all(stage["stage"] not in {"COLLSCAN", "SORT"} for p in plans for stage in _stages(p))


async def test_members_of_a_new_thread_are_not_read(mongo: Mongo, commands: CommandWatch) -> None:
    def emails(*numbers: int) -> list[EncodedChange]:
        events = [setting(f"acti_{number}", 1, thread_id="acti_t") for number in numbers]
        return encoded(map(to_change, events))

    finds = []
    for changes in (emails(1, 2, 3), emails(4)):
        commands.clear()
        await refresh_threads(mongo, changes, await write_changes(mongo, changes))
        finds.append([find["hint"] for find in commands.finds])

    assert finds == [["_id_"], ["_id_", "thread_members", "_id_"]]
    assert (await stored_threads(mongo))["acti_t"]["n_emails"] == 4


def test_the_organization_comes_first_in_every_filter() -> None:
    for _, parameters, own in shapes():
        for find in to_finds(parse(parameters, own)):
            assert next(iter(find.filter.items())) == ("organization_id", "orga_1")


def test_many_names_do_not_reach_mongodb() -> None:
    few, many = [
        to_projection(parse([("_fields", ",".join(f"name_{n}" for n in range(count)))]))
        for count in (100, 101)
    ]

    assert few["name_99"] == 1
    assert 1 not in many.values()


def test_the_bodies_of_stripped_emails_do_not_travel() -> None:
    for fields in ([], [("_fields", "_all")]):
        projection = to_projection(parse([("thread_emails", "true"), *fields]))

        assert dict.fromkeys(EMAIL_BODIES, 0).items() <= projection.items(), fields


def parse(parameters: Pairs, own: str | None = None) -> Query:
    return Listing(None).parse(parameters, own)  # type: ignore[arg-type]  # nothing is asked


async def _explain(mongo: Mongo, find: dict[str, Any]) -> dict[str, Any]:
    sent = {"find", "filter", "projection", "sort", "hint", "skip", "limit"}
    command = {key: value for key, value in find.items() if key in sent}
    answer = await mongo.activities.database.command("explain", command, verbosity="executionStats")
    stats: dict[str, Any] = answer["executionStats"]
    return stats


def _faults(name: str, find: dict[str, Any], plan: dict[str, Any]) -> Iterator[str]:
    stages = list(_stages(plan))
    if {"date_created", "activity_at"} & {
        key for key, value in find["filter"].items() if value is None
    }:
        # What has no time is asked for once, at the end of a walk: there is hardly any, and MongoDB
        # looks for it with a key a scan, which it sorts.
        assert not [stage for stage in stages if stage["stage"] == "COLLSCAN"]
        return
    for stage in stages:
        if stage["stage"] == "COLLSCAN":
            yield "a collection scan"
        if stage["stage"] == "IXSCAN" and stage["indexName"] != find["hint"]:
            yield f"{stage['indexName']} in place of {find['hint']}"
        if stage["stage"] == "SORT" and any(
            one["stage"] == "FETCH" for one in _stages_below(stage)
        ):
            yield "documents are fetched before a sort"
        if stage["stage"] == "SORT" and name != SORTED_BY_MONGODB:
            yield "a sort that the index could have spared"
    if name in EXEMPT:
        return
    rows = plan["nReturned"] + find.get("skip", 0)
    scans = sum(stage["stage"] == "IXSCAN" for stage in stages)
    if name != SORTED_BY_MONGODB and _keys(plan) > KEYS_PER_ROW * rows + KEYS_PER_SCAN * scans:
        yield f"{_keys(plan)} keys for {rows} rows of {scans} scans"
    if plan["totalDocsExamined"] > plan["nReturned"]:
        yield f"{plan['totalDocsExamined']} documents for {plan['nReturned']} rows"


def _keys(plan: dict[str, Any]) -> int:
    keys: int = plan["totalKeysExamined"]
    return keys


def _stages(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan["executionStages"]
    yield from _stages_below(plan["executionStages"])


def _stages_below(stage: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for below in [stage.get("inputStage"), *stage.get("inputStages", [])]:
        if below is not None:
            yield below
            yield from _stages_below(below)


def _milliseconds() -> int:
    return int((NOON - NOON.replace(year=1970, month=1, day=1, hour=0)).total_seconds() * 1000)
