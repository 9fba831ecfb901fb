"""What a page holds, in which order, and how a walk goes on (contract 3.2 to 3.4)."""

import asyncio
import random
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from service.activities.types import TYPES
from service.errors import InvalidRequest, StoreTimeout
from service.settings import MongoSettings, RetentionSettings
from service.store import reads
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from service.store.reads import find_page, get_activity
from service.store.rendering import render_page
from tests.commands import CommandWatch
from tests.conftest import Driver
from tests.examples import examples
from tests.factories import (
    ACTIVITIES,
    GIVEN_THREADS,
    ORGANIZATIONS,
    activity,
    deletion,
    event,
    event_logs,
    record,
    requests,
)
from tests.model import Model, Refusal
from tests.store.listing import NOON, Listing, Pairs, apply, as_shown, document

TYPE_NAMES = [row.name for row in TYPES]
MEBIBYTE = 1024 * 1024


# --- against the oracle -------------------------------------------------------------------------


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=event_logs(min_size=5), data=st.data())
async def test_every_answer_is_the_models(mongo: Mongo, log: list[bytes | None], data: Any) -> None:
    model = Model()
    for value in log:
        model.apply(value)
    await mongo.activities.delete_many({})
    await apply(mongo, log)
    ids = [*ACTIVITIES, *GIVEN_THREADS, *model.threads(ORGANIZATIONS[0])]

    for request in data.draw(st.lists(requests(ids), min_size=5, max_size=12)):
        # What a client prefers is the API's to hear, and tried there (tests/api/test_oracle.py).
        headers = {name: text for name, text in request.headers.items() if name != "Prefer"}
        status, body = model.get(request.path, request.parameters, ORGANIZATIONS[0], headers)
        answer, told, refused = await Listing(mongo).get(request.path, request.parameters, headers)

        assert answer == status, request
        if isinstance(body, Refusal):
            assert refused is not None
            text, name = refused.message, str(refused.parameter)
            refusal = {"error": text, "errors": [], "field-errors": {name: text}}
            assert body.is_told_by(refusal), request
        else:
            assert told == body, request


@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=event_logs(min_size=10), data=st.data())
async def test_a_walk_of_any_step_is_the_models_list(
    mongo: Mongo, log: list[bytes | None], data: Any
) -> None:
    model = Model()
    for value in log:
        model.apply(value)
    await mongo.activities.delete_many({})
    await apply(mongo, log)
    order = data.draw(
        st.sampled_from(["-date_created", "date_created", "-activity_at", "activity_at"])
    )
    lead = [("lead_id", "lead_1")] if order.endswith("activity_at") else []
    mode = data.draw(st.sampled_from(["", "true", "only"]))
    limit = data.draw(st.integers(1, 5))
    asked = [*lead, ("_order_by", order), ("thread_emails", mode)]

    walked = await Listing(mongo).walk([*asked, ("_limit", str(limit))])

    assert walked == model.walk("/activity/", asked, ORGANIZATIONS[0])


# --- order, ties and cursors --------------------------------------------------------------------


def sorted_ids(documents: list[dict[str, Any]], field: str, descending: bool) -> list[str]:
    ordered = sorted(documents, key=lambda each: (each[field], each["id"]), reverse=descending)
    return [each["id"].removesuffix("!thread") for each in ordered]


def tied_documents() -> list[dict[str, Any]]:
    """Three thousand of one time, in many leads and types, and some around them."""
    rng = random.Random(7)
    return [
        document(
            f"acti_{number:05d}",
            rng.choice([name for name in TYPE_NAMES if name != "EmailThread"]),
            lead_id=f"lead_{rng.randrange(20)}" if number % 2 else "lead_1",
            minutes=0 if number < 3000 else rng.randrange(-3, 4),
        )
        for number in range(3200)
    ]


@pytest.mark.parametrize("direction", ["-", ""])
@pytest.mark.parametrize("leads", [0, 1, 14, 20])
async def test_a_walk_through_a_tie_misses_and_repeats_nothing(
    mongo: Mongo, direction: str, leads: int
) -> None:
    documents = tied_documents()
    await mongo.activities.insert_many(documents)
    names = ["lead_1", *(f"lead_{number}" for number in range(20) if number != 1)][:leads]
    asked = [("lead_id", ",".join(names))] if names else []
    asked.append(("_order_by", f"{direction}date_created"))

    walked = [row["id"] for row in await Listing(mongo).walk(asked)]

    wanted = [each for each in documents if not names or each["lead_id"] in names]
    assert walked == sorted_ids(wanted, "date_created", descending=direction == "-")


@pytest.mark.parametrize("direction", ["-", ""])
async def test_one_lead_is_walked_by_activity_at(mongo: Mongo, direction: str) -> None:
    documents = tied_documents()
    for number, each in enumerate(documents):
        each["date_created"] = NOON.replace(microsecond=number % 1000 * 1000)
    await mongo.activities.insert_many(documents)
    asked = [("lead_id", "lead_1"), ("_order_by", f"{direction}activity_at"), ("_limit", "70")]

    walked = [row["id"] for row in await Listing(mongo).walk(asked)]

    wanted = [each for each in documents if each["lead_id"] == "lead_1"]
    assert walked == sorted_ids(wanted, "activity_at", descending=direction == "-")


async def test_a_walk_asks_twice_only_inside_a_tie(
    mongo: Mongo, mongo_driver: Driver, commands: CommandWatch
) -> None:
    times = [0, 0, 0, 0, 1, 2, 3, 4]
    await mongo.activities.insert_many(
        [document(f"acti_{place}", minutes=time) for place, time in enumerate(times)]
    )

    walked = await Listing(mongo).walk([("_limit", "2")])

    assert len(walked) == len(times)
    # Pages (4, 3), (2, 1), (0, 0), (0, 0): the third ends inside the tie of the last, at whose end
    # comes what has no time at all (contract 3.6).
    if mongo_driver == "pymongo":
        assert len(commands.finds) == 6


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_page_may_end_between_a_thread_and_its_newest_email(
    mongo: Mongo, limit: int
) -> None:
    """At the end of time both have one time, and here one id too."""
    end = "9999-12-31T23:59:59.999+00:00"
    emails = [
        activity("Email", id=f"acti_{number}", thread_id="acti_2", date_created=at, activity_at=at)
        for number, at in enumerate(["2026-01-01T00:00:00+00:00", end, end, end], start=1)
    ]
    await apply(mongo, [record(event(each, id=f"ev_{each['id']}")) for each in emails])
    asked = [("thread_emails", "true"), ("_limit", str(limit))]

    down = await Listing(mongo).walk(asked)
    up = await Listing(mongo).walk([*asked, ("_order_by", "date_created")])

    rows = [
        ("Email", "acti_4"),
        ("Email", "acti_3"),
        ("EmailThread", "acti_2"),
        ("Email", "acti_2"),
    ]
    assert [(row["_type"], row["id"]) for row in down] == [*rows, ("Email", "acti_1")]
    assert up == down[::-1]


@pytest.mark.parametrize("leads", [1, 20])
async def test_a_skip_is_exact_at_any_depth(mongo: Mongo, leads: int) -> None:
    documents = tied_documents()
    await mongo.activities.insert_many(documents)
    names = [f"lead_{number}" for number in range(20)] if leads > 1 else ["lead_1"]
    asked = ("lead_id", ",".join(names))
    wanted = [each for each in documents if each["lead_id"] in names]
    expected = sorted_ids(wanted, "date_created", descending=True)

    for skip in (0, 1, 99, 1500, len(wanted) - 1, len(wanted), 9999):
        body, _ = await Listing(mongo).page([asked, ("_skip", str(skip))])

        assert [row["id"] for row in body["data"]] == expected[skip : skip + 100]
        assert body["has_more"] == (skip + 100 < len(expected))


async def test_one_of_many_leads_may_fill_a_page(mongo: Mongo) -> None:
    documents = [document(f"acti_{place}", lead_id="lead_0", minutes=place) for place in range(3)]
    await mongo.activities.insert_many(documents)
    leads = ("lead_id", ",".join(f"lead_{number}" for number in range(30)))

    walked = await Listing(mongo).walk([leads, ("_limit", "2")])

    assert [row["id"] for row in walked] == ["acti_2", "acti_1", "acti_0"]


async def test_a_walk_keeps_its_rows_while_others_arrive(mongo: Mongo) -> None:
    documents = [document(f"acti_{place:03d}", minutes=place // 5) for place in range(60)]
    await mongo.activities.insert_many(documents)
    listing, seen, arrived = Listing(mongo), list[str](), 0
    cursor: str | None = ""

    while cursor is not None:
        body, cursor = await listing.page([("_limit", "7"), ("_cursor", cursor)])
        seen += [row["id"] for row in body["data"]]
        newcomers = [document(f"new_{arrived + n}", minutes=n % 14 - 1) for n in range(5)]
        arrived += len(newcomers)
        await mongo.activities.insert_many(newcomers)

    assert len(seen) == len(set(seen))
    assert [id_ for id_ in seen if id_.startswith("acti")] == sorted_ids(
        documents, "date_created", descending=True
    )


async def test_what_goes_while_it_is_read_is_missing(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the find of the places and that of the rows."""
    notes = [activity("Note", id=f"acti_{n}", lead_id="lead_1") for n in range(3)]
    await apply(mongo, [record(event(note, id=f"ev_{note['id']}")) for note in notes])
    gone = deletion(notes[0], date_updated="2026-01-03", id="ev_gone")
    moved = event({**notes[1], "lead_id": "lead_2"}, date_updated="2026-01-03", id="ev_moved")
    render_by_id = reads._render_by_id

    async def change_and_render(*asked: Any) -> list[bytearray]:
        await apply(mongo, [record(gone), record(moved)])
        return await render_by_id(*asked)

    monkeypatch.setattr(reads, "_render_by_id", change_and_render)

    rows = await Listing(mongo).ids(("lead_id", "lead_1"), ("id__in", "acti_0,acti_1,acti_2"))

    assert rows == ["acti_2"]


# --- what is asked for --------------------------------------------------------------------------


async def test_no_limit_tells_only_whether_anything_matches(mongo: Mongo) -> None:
    await mongo.activities.insert_many([document("acti_1"), document("acti_2", lead_id="lead_2")])

    body, cursor = await Listing(mongo).page([("_limit", "0")])
    nothing, _ = await Listing(mongo).page([("_limit", "0"), ("lead_id", "lead_3")])

    assert (body, cursor) == ({"has_more": True, "data": []}, None)
    assert nothing == {"has_more": False, "data": []}


async def test_ids_find_threads_by_their_shown_id(mongo: Mongo) -> None:
    email = activity("Email", id="acti_1", thread_id="acti_1")
    await apply(mongo, [record(event(email)), record(event(activity(id="acti_2"), id="ev_2"))])
    listing, asked = Listing(mongo), ("id__in", "acti_1,acti_2,acti_none")

    whole = await listing.rows(asked)
    beside = await listing.rows(asked, ("thread_emails", "true"), ("_order_by", "date_created"))
    alone = await listing.rows(asked, own="EmailThread")

    assert sorted(row["_type"] for row in whole) == ["Email", "Note"]
    assert sorted(row["_type"] for row in beside) == ["Email", "EmailThread", "Note"]
    assert [(row["_type"], row["id"]) for row in alone] == [("EmailThread", "acti_1")]


async def test_ids_are_sorted_skipped_and_walked(mongo: Mongo) -> None:
    documents = [document(f"acti_{place:03d}", minutes=place * 7 % 10) for place in range(100)]
    await mongo.activities.insert_many(documents)
    asked = ("id__in", ",".join(each["id"] for each in documents))
    expected = sorted_ids(documents, "date_created", descending=True)

    walked = await Listing(mongo).walk([asked, ("_limit", "9")])
    skipped = await Listing(mongo).ids(asked, ("_skip", "90"))

    assert [row["id"] for row in walked] == expected
    assert skipped == expected[90:]


async def test_a_threads_users_are_all_of_its_emails(mongo: Mongo) -> None:
    emails = [
        activity("Email", id=f"acti_{who}", thread_id="thread_1", user_id=f"user_{who}", contact_id=f"cont_{who}")
        for who in ("a", "b")
    ]  # fmt: skip  # one email a line
    await apply(mongo, [record(event(each, id=f"ev_{each['id']}")) for each in emails])
    lead, only = ("lead_id", "lead_1"), ("thread_emails", "only")

    for person in ("a", "b"):
        assert await Listing(mongo).ids(lead, only, ("user_id", f"user_{person}")) == ["thread_1"]
        both = await Listing(mongo).ids(
            lead, ("thread_emails", "true"), ("contact_id", f"cont_{person}")
        )
        assert sorted(both) == sorted(["thread_1", f"acti_{person}"])  # fmt: skip
    apart = [("user_id", "user_a"), ("user_id__in", "user_b")]
    assert await Listing(mongo).ids(lead, only, *apart) == ["thread_1"]
    assert await Listing(mongo).ids(lead, *apart) == []


FILTERED = {
    "note": ("Note", {}),
    "custom_1": ("CustomActivity", {"custom_activity_type_id": "actitype_1"}),
    "custom_2": ("CustomActivity", {"custom_activity_type_id": "actitype_2"}),
    "custom_none": ("CustomActivity", {}),
    "won": ("OpportunityStatusChange", {"opportunity_id": "oppo_1"}),
    "lost": ("OpportunityStatusChange", {"opportunity_id": "oppo_2"}),
    "form_1": ("FormSubmission", {"form_id": "form_1", "user_id": "user_1"}),
    "form_2": ("FormSubmission", {"form_id": "form_2", "contact_id": "cont_1"}),
    "whatsapp": ("WhatsAppMessage", {"external_whatsapp_message_id": "wamid.a/+=="}),
}


FILTERS: list[tuple[str | None, str, str]] = [
    (None, "_type=actitype_1", "custom_1"),
    (None, "_type=Note,actitype_1", "note custom_1"),
    (None, "_type=Note,actitype_1&_type__in=Note,actitype_2", "note"),
    (None, "_type=Custom", "custom_1 custom_2 custom_none"),
    (None, "user_id=user_1", "form_1"),
    (None, "contact_id=cont_1,cont_2", "form_2"),
    ("CustomActivity", "custom_activity_type_id=actitype_1", "custom_1"),
    ("CustomActivity", "custom_activity_type_id__in=actitype_2,x", "custom_2"),
    ("CustomActivity", "custom_activity_type_id=actitype_2&_type=actitype_1", ""),
    ("OpportunityStatusChange", "opportunity_id=oppo_1", "won"),
    ("OpportunityStatusChange", "opportunity_id=oppo_1,oppo_2", "won lost"),
    ("OpportunityStatusChange", "opportunity_id=oppo_3", ""),
    ("FormSubmission", "form_id=form_1", "form_1"),
    ("FormSubmission", "form_id=form_1,form_2&user_id=user_1", "form_1"),
    ("FormSubmission", "form_id=form_1&form_id__in=form_2", ""),
    ("WhatsAppMessage", "external_whatsapp_message_id=wamid.a/+==", "whatsapp"),
]


async def test_filters_let_through_what_they_name(mongo: Mongo) -> None:
    await mongo.activities.insert_many(
        [document(name, type_name) | fields for name, (type_name, fields) in FILTERED.items()]
    )

    for own, asked, found in FILTERS:
        pairs = [(name, value) for name, _, value in (p.partition("=") for p in asked.split("&"))]
        with_lead = [*pairs, ("lead_id", "lead_1")]
        needs_lead = own is None or "custom" in asked

        assert set(await Listing(mongo).ids(*with_lead, own=own)) == set(found.split()), asked
        if not needs_lead:
            assert set(await Listing(mongo).ids(*pairs, own=own)) == set(found.split()), asked


async def test_deleted_activities_empty_threads_and_overlays_never_show(mongo: Mongo) -> None:
    email, thread = (
        activity("Email", id="acti_1", thread_id="thread_1"),
        activity("EmailThread", id="thread_2"),
    )
    await apply(mongo, [record(event(email)), record(event(thread, id="ev_3"))])  # fmt: skip
    await apply(mongo, [record(deletion(email, date_updated="2026-01-03"))])
    listing = Listing(mongo)

    assert await mongo.activities.count_documents({}) == 4
    for mode in ("false", "true", "only"):
        assert await listing.rows(("thread_emails", mode)) == []
        assert await listing.rows(("lead_id", "lead_1"), ("thread_emails", mode)) == []
        assert (
            await listing.rows(("id__in", "acti_1,thread_1,thread_2"), ("thread_emails", mode))
            == []
        )
    for id_ in ("acti_1", "thread_1", "thread_2", "thread_2!overlay"):
        assert await listing.one(id_) is None  # fmt: skip


async def test_no_organization_sees_anothers(mongo: Mongo) -> None:
    await mongo.activities.insert_many(
        [document("acti_1", organization_id=name) for name in ("orga_1", "orga_2", "orga_1!acti_1")]
    )

    for name in ("orga_1", "orga_2"):
        listing = Listing(mongo, name)
        for asked in ([], [("lead_id", "lead_1")], [("id__in", "acti_1")]):
            assert [row["organization_id"] for row in await listing.rows(*asked)] == [name]
        assert (await listing.one("acti_1"))["organization_id"] == name
        assert await listing.rows(("organization_id", "orga_3")) == []


# --- single activities and threads --------------------------------------------------------------


async def test_an_activity_comes_before_a_thread_of_its_id(mongo: Mongo) -> None:
    await apply(mongo, [record(event(activity("Email", id="acti_1", thread_id="acti_1")))])
    listing = Listing(mongo)

    assert (await listing.one("acti_1"))["_type"] == "Email"
    assert (await listing.one("acti_1", own="Email"))["_type"] == "Email"
    assert (await listing.one("acti_1", own="EmailThread"))["_type"] == "EmailThread"
    assert await listing.one("acti_1", own="Note") is None
    assert await listing.one("acti_2") is None


async def test_a_single_thread_has_its_emails_without_bodies(mongo: Mongo) -> None:
    emails = [
        activity("Email", id=f"acti_{number:03d}", thread_id="thread_1", body_text="x", body_html="x")
        for number in range(502)
    ]  # fmt: skip  # one email a line
    await apply(mongo, [record(event(each, id=f"ev_{each['id']}")) for each in emails])

    thread = await Listing(mongo).one("thread_1")
    row = (await Listing(mongo).rows(own="EmailThread"))[0]
    picked = await Listing(mongo).one("thread_1", ("_fields", "n_emails"))
    some = await Listing(mongo).one("thread_1", ("_fields", "emails"), own="EmailThread")

    shown = thread.pop("emails")
    assert thread == row
    assert [email["id"] for email in shown] == [f"acti_{n:03d}" for n in range(501, 1, -1)]
    assert "body_preview" in shown[0]
    assert not {"body_text", "body_html", "body_text_quoted", "_meta", "_id"} & shown[0].keys()
    assert (picked, some) == ({"n_emails": 502}, {"emails": shown})


async def test_a_single_thread_holds_as_many_emails_as_fit(mongo: Mongo) -> None:
    emails = [
        activity("Email", id=f"acti_{number}", thread_id="thread_1", to=["x" * 1000])
        for number in range(9)
    ]
    await apply(mongo, [record(event(each, id=f"ev_{each['id']}")) for each in emails])
    whole = await Listing(mongo).one("thread_1")
    size = len(await _raw_thread(mongo, MEBIBYTE))

    for max_bytes in range(size - 5000, size + 2, 499):
        thread = await Listing(mongo, max_page_bytes=max_bytes).one("thread_1")

        count = len(thread["emails"])
        assert thread == {**whole, "emails": whole["emails"][:count]}
        assert len(await _raw_thread(mongo, max_bytes)) <= max_bytes
    assert await _raw_thread(mongo, size) == await _raw_thread(mongo, MEBIBYTE)
    assert len(await _raw_thread(mongo, size - 1)) < size - 1


async def _raw_thread(mongo: Mongo, max_page_bytes: int) -> bytes:
    body = await get_activity(
        mongo,
        "orga_1",
        "thread_1",
        type_name=None,
        fields=None,
        max_seconds=5,
        max_page_bytes=max_page_bytes,
    )
    assert body is not None
    return body


# --- fields and rendering -----------------------------------------------------------------------


async def test_fields_pick_keys_of_any_spelling(mongo: Mongo) -> None:
    odd = {"custom.cf_1": 1, "$x.y": 2, "": 3, "a b": 4, "values_by_name": {"Price in $. (net)": 5}}
    note = document("acti_1", note="text") | odd
    await mongo.activities.replace_one({"_id": note["_id"]}, note, upsert=True)

    async def picked(names: str) -> Any:
        return (await Listing(mongo).rows(("_fields", names)))[0]

    assert await picked("note,nothing") == {"note": "text"}
    assert await picked("custom.cf_1") == {"custom.cf_1": 1}
    assert await picked("$x.y,a b") == {"$x.y": 2, "a b": 4}
    assert await picked("values_by_name.x,note.y,$note,_meta.revision") == {}
    assert await picked("_id,_meta,__proto__") == {}
    assert await picked(",".join(f"name_{number}" for number in range(5000)) + ",note") == {
        "note": "text"
    }
    whole = {**odd, "id": "acti_1", "note": "text"}
    assert whole.items() <= (await picked("_all")).items()
    assert whole.items() <= (await Listing(mongo).rows())[0].items()


async def test_heavy_fields_come_only_when_asked_for(mongo: Mongo) -> None:
    heavy: dict[str, Any] = {
        "recording_transcript": {"utterances": []},
        "voicemail_transcript": None,
    }
    await mongo.activities.insert_one(document("acti_1", "Call", duration=5) | heavy)
    listing = Listing(mongo)

    for row in (
        *await listing.rows(),
        *await listing.rows(own="Call"),
        await listing.one("acti_1"),
    ):
        assert row["duration"] == 5
        assert not heavy.keys() & row.keys()
    asked = ("_fields", "duration,recording_transcript,custom.cf_1")
    some = {"duration": 5, "recording_transcript": {"utterances": []}}
    assert await listing.rows(asked) == [some]
    assert await listing.one("acti_1", asked) == some
    assert heavy.items() <= (await listing.rows(("_fields", "_all")))[0].items()
    assert heavy.items() <= (await listing.one("acti_1", ("_fields", "_all"))).items()


async def test_a_stripped_email_stays_stripped(mongo: Mongo) -> None:
    email = activity("Email", id="acti_1", attachments=[{"url": "x"}], custom_field=1)
    await apply(mongo, [record(event(email))])
    listing, beside = Listing(mongo), ("thread_emails", "true")

    stripped = (await listing.rows(beside, own="Email"))[1]
    everything = (await listing.rows(beside, ("_fields", "_all"), own="Email"))[1]
    some = (await listing.rows(beside, ("_fields", "has_attachments,body_text,opens"), own="Email"))[1]  # fmt: skip

    assert stripped["_type"] == "Email"
    assert everything == stripped
    assert some == {"has_attachments": True}
    assert stripped["has_attachments"]
    assert not {"body_text", "attachments", "thread_id", "custom_field"} & stripped.keys()


async def test_only_emails_are_stripped(mongo: Mongo) -> None:
    """Though others may have a field that is named like a part of an email."""
    note = activity("Note", id="acti_1", body_text="a note's own", body_html="likewise")
    await apply(mongo, [record(event(note))])
    listing = Listing(mongo)

    for asked in ((), (("_fields", "_all"),)):
        whole = await listing.rows(*asked, own="Note")
        assert await listing.rows(("thread_emails", "true"), *asked, own="Note") == whole
        assert whole[0]["body_text"] == "a note's own"


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1),
        datetime(999, 12, 31, 23, 59, 59, 999_000),
        datetime(1969, 12, 31, 23, 59, 59, 1000),
        datetime(2026, 1, 2, 10),
        datetime(2026, 1, 2, 10, 0, 0, 120_000),
        datetime(9999, 12, 31, 23, 59, 59, 999_000),
    ],
)
async def test_times_of_every_year_are_printed(mongo: Mongo, time: datetime) -> None:
    note = document("acti_1") | {"date_created": time, "activity_at": time}
    await mongo.activities.insert_many([note, document("acti_2") | {"date_created": time}])

    rows = await Listing(mongo).walk([("_limit", "1")])

    assert [row["date_created"] for row in rows] == [as_shown(time)] * 2


async def test_values_come_back_as_they_were(mongo: Mongo) -> None:
    values = {
        "integers": [0, -1, 2**31, -(2**63), 2**63 - 1],
        "doubles": [0.0, -0.0, 1.5, 1e300, 5e-324, 1.0],
        "texts": ["", "\0", "\u2028", "🙂", '"\\', "\x7f"],
        "deep": {"a": {"": [None, True, {"$ref": 1, "$id": {}}]}},
    }
    await mongo.activities.insert_one(document("acti_1") | values)

    row = (await Listing(mongo).rows())[0]

    assert {key: row[key] for key in values} == values
    assert str(row["doubles"]) == str(values["doubles"])


# --- limits -------------------------------------------------------------------------------------


async def test_a_page_that_is_too_large_names_the_limit(mongo: Mongo) -> None:
    await mongo.activities.insert_many([document(f"acti_{n}", note="x" * 1000) for n in range(5)])
    body, _ = await Listing(mongo).page()
    size = len(str(body).encode())

    for asked in ([], [("lead_id", "lead_1")], [("id__in", "acti_0,acti_1,acti_2,acti_3,acti_4")]):
        with pytest.raises(InvalidRequest, match="_limit") as refused:
            await Listing(mongo, max_page_bytes=5000).page(asked)
        assert refused.value.parameter == "_limit"
        fits, _ = await Listing(mongo, max_page_bytes=5000).page([*asked, ("_limit", "2")])
        assert len(fits["data"]) == 2
    assert await Listing(mongo, max_page_bytes=size + 50).page() == (body, None)


@pytest.mark.parametrize("asked", [[], [("id__in", ",".join(f"acti_{n}" for n in range(60)))]])
async def test_a_page_may_have_exactly_its_bytes(mongo: Mongo, asked: Pairs) -> None:
    await mongo.activities.insert_many([document(f"acti_{n}") for n in range(60)])
    query = Listing(mongo).parse(asked)
    page = await find_page(mongo, query, max_seconds=5, max_page_bytes=MEBIBYTE)
    size = len(render_page(page))

    body, _ = await Listing(mongo, max_page_bytes=size).page(asked)

    assert len(body["data"]) == 60
    with pytest.raises(InvalidRequest, match="_limit"):
        await Listing(mongo, max_page_bytes=size - 1).page(asked)


async def test_of_a_huge_page_no_more_is_read_than_may_be_sent(
    mongo: Mongo, mongo_driver: Driver, commands: CommandWatch
) -> None:
    """MongoDB sends at most 16 MiB at a time; with the second 16 the page is known too large."""
    for number in range(40):
        await mongo.activities.insert_one(document(f"acti_{number}", note="x" * MEBIBYTE))
    open_before = await _open_cursors(mongo)
    commands.clear()

    with pytest.raises(InvalidRequest, match="_limit"):
        await Listing(mongo, max_page_bytes=16 * MEBIBYTE).page()

    if mongo_driver == "pymongo":
        assert commands.names == ["find", "killCursors", "find", "getMore", "killCursors"]
    assert await _open_cursors(mongo) == open_before


async def _open_cursors(mongo: Mongo) -> int:
    status = await mongo.client.admin.command("serverStatus")
    count: int = status["metrics"]["cursor"]["open"]["total"]
    return count


async def test_a_request_has_one_time_limit_over_all_its_finds(mongo: Mongo) -> None:
    await mongo.activities.insert_one(document("acti_1"))

    with pytest.raises(StoreTimeout):
        await Listing(mongo, max_seconds=0).page()
    with pytest.raises(StoreTimeout):
        await Listing(mongo, max_seconds=0).one("acti_1")


class Clock:
    """Stands for `time`: four seconds pass between two looks."""

    def __init__(self) -> None:
        self.seconds = 0

    def monotonic(self) -> int:
        self.seconds += 4
        return self.seconds


async def test_a_later_find_has_what_time_is_left(
    mongo: Mongo,
    mongo_driver: Driver,
    commands: CommandWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reads, "time", Clock())
    leads = ("lead_id", ",".join(f"lead_{number}" for number in range(30)))

    with pytest.raises(StoreTimeout):
        await Listing(mongo, max_seconds=10).page([leads])

    if mongo_driver == "pymongo":
        assert [find["maxTimeMS"] for find in commands.finds] == [6000, 2000]


async def test_a_query_that_runs_too_long_is_ended_by_mongodb(
    breakable_mongo_server: MongoServer, mongo_settings: MongoSettings
) -> None:
    settings_ = mongo_settings.model_copy(update={"url": SecretStr(breakable_mongo_server.url)})
    async with connect(settings_) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        await mongo.client.admin.command(
            {"configureFailPoint": "maxTimeAlwaysTimeOut", "mode": "alwaysOn"}
        )
        try:
            with pytest.raises(StoreTimeout):
                await Listing(mongo).page()
            with pytest.raises(StoreTimeout):
                await Listing(mongo).one("acti_1")
        finally:
            await mongo.client.admin.command(
                {"configureFailPoint": "maxTimeAlwaysTimeOut", "mode": "off"}
            )


async def test_a_caller_that_gives_up_ends_its_query_in_mongodb(
    breakable_mongo_server: MongoServer, mongo_settings: MongoSettings
) -> None:
    settings_ = mongo_settings.model_copy(update={"url": SecretStr(breakable_mongo_server.url)})
    async with connect(settings_) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        await mongo.activities.insert_one(document("acti_1"))
        admin = mongo.client.admin
        stuck = {"configureFailPoint": "waitInFindBeforeMakingBatch", "data": {"shouldCheckForInterrupt": True}}  # fmt: skip
        await admin.command({**stuck, "mode": "alwaysOn"})
        try:
            asking = asyncio.create_task(Listing(mongo, max_seconds=3).page())
            await _until(mongo, running=1)

            asking.cancel()

            with pytest.raises(asyncio.CancelledError):
                await asking
            await _until(mongo, running=0)
        finally:
            await admin.command(
                {"configureFailPoint": "waitInFindBeforeMakingBatch", "mode": "off"}
            )


async def _until(mongo: Mongo, *, running: int) -> None:
    """Wait until so many finds of this test run in MongoDB."""
    namespace = f"{mongo.activities.database.name}.{mongo.activities.name}"
    async with asyncio.timeout(10):
        while True:
            answer = await mongo.client.admin.command(
                {"currentOp": 1, "ns": namespace, "op": "query"}
            )
            if len(answer["inprog"]) == running:
                return
            await asyncio.sleep(0.02)
