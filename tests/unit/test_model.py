"""The oracle itself, held to sentences of the contract by examples written by hand."""

import hashlib
import json
from typing import Any

import bson
import pytest

from tests.factories import (
    BAD_RECORDS,
    TYPE_NAMES,
    activity,
    deletion,
    event,
    realistic_events,
    record,
    too_large_record,
)
from tests.model import (
    BY_NAME,
    Model,
    Parameters,
    Refusal,
    Rejected,
    bson_size,
    normalized_subject,
    parse_datetime,
    parse_json,
    preview,
    senders,
    thread_id,
    with_params,
)

MORNING = "2026-01-02T10:00:00+00:00"


def note(id_: str, at: str = MORNING, **fields: Any) -> dict[str, Any]:
    return {"_type": "Note", "id": id_, "date_created": at, "lead_id": "lead_1"} | fields


def email(id_: str, at: str = MORNING, **fields: Any) -> dict[str, Any]:
    return note(id_, at, _type="Email", subject="Quote", sender="Ada <ada@x.test>") | fields


def model_of(*rows: dict[str, Any]) -> Model:
    model = Model()
    for number, row in enumerate(rows):
        assert model.apply(record(event(row, id=f"ev_{number}"))) == "applied"
    return model


def ids(
    model: Model, parameters: Parameters, path: str = "/activity/", **headers: str
) -> list[str]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    status, body = model.get(path, parameters, "orga_1", names)
    assert status == 200, body
    return [row["id"] for row in body["data"]]


def faulty(model: Model, parameters: Parameters, path: str = "/activity/") -> set[str]:
    status, body = model.get(path, parameters, "orga_1")
    assert status == 400
    assert isinstance(body, Refusal)
    return {name for fault in body.faults for name in fault.parameters}


# ---------------------------------------------------------------- contract 1: events in


@pytest.mark.parametrize(
    ("code", "value"), [(code, value) for code, values in BAD_RECORDS.items() for value in values]
)
def test_every_bad_record_has_its_code(code: str, value: bytes) -> None:
    model = Model()

    assert model.apply(value) == code
    assert model.dead_letters == [(value, code)]


def test_a_record_over_the_limit_is_too_large() -> None:
    model = Model(max_record_bytes=2000)

    assert model.apply(too_large_record(2000)) == "too_large"
    assert model.apply(too_large_record(1999)) == "applied"


def test_an_email_with_a_huge_preview_is_too_large() -> None:
    row = email("acti_1", to=["x" * 100] * 11_000)

    assert Model().apply(record(event(row))) == "too_large"


def test_sizes_are_those_of_documents() -> None:
    few: dict[str, Any] = {"a": [1, 2**40, 1.5, True, None, {}]}

    for row in (activity("Email"), activity("Call"), few):
        assert bson_size(row) == len(bson.encode(row))


@pytest.mark.parametrize("type_name", TYPE_NAMES)
def test_every_type_is_applied(type_name: str) -> None:
    assert Model().apply(record(event(activity(type_name)))) == "applied"


@pytest.mark.parametrize("object_type", ["lead", "contact.phone", "activity", ""])
def test_other_objects_are_ignored(object_type: str) -> None:
    model = Model()

    assert model.apply(record({"object_type": object_type, "id": 7})) == "ignored"
    assert model.apply(None) == "ignored"
    assert model.dead_letters == []


def test_a_webhook_body_holds_the_event() -> None:
    model = Model()

    model.apply(record({"subscription_id": "whsub_1", "event": event(note("acti_1"))}))

    assert list(model.activities("orga_1")) == ["acti_1"]


def test_the_highest_revision_wins_in_any_order() -> None:
    early = record(event(note("acti_1", note="early"), date_updated="2026-01-01"))
    late = record(event(note("acti_1", note="late"), id="ev_0", date_updated="2026-01-03"))
    one, other = Model(), Model()

    assert [one.apply(early), one.apply(late), one.apply(late)] == ["applied", "applied", "stale"]
    assert [other.apply(late), other.apply(early)] == ["applied", "stale"]

    assert one.activities("orga_1") == other.activities("orga_1")
    assert one.activities("orga_1")["acti_1"]["note"] == "late"


def test_revisions_differ_by_microsecond_then_by_event_id() -> None:
    model = Model()
    times = ["10:00:00.0000019", "10:00:00.000002", "10:00:00.000002999"]

    outcomes = [
        model.apply(record(event(note("acti_1"), id="ev_1", date_updated=f"2026-01-01T{time}")))
        for time in times
    ]
    later = event(note("acti_1"), id="ev_10", date_updated="2026-01-01T10:00:00.000002")

    assert outcomes == ["applied", "applied", "stale"]
    assert model.apply(record(later)) == "applied"


def test_date_updated_defaults_to_date_created() -> None:
    model = Model()
    row = event(note("acti_1"), date_created="2026-01-04T00:00:00.0009")
    del row["date_updated"]

    model.apply(record(row))

    shown = model.activities("orga_1")["acti_1"]
    assert shown["date_updated"] == "2026-01-04T00:00:00+00:00"


def test_a_delete_wins_even_when_it_comes_first_and_a_newer_revision_revives() -> None:
    model = Model()
    row = note("acti_1")

    assert model.apply(record(deletion(row, date_updated="2026-02-02"))) == "applied"
    assert model.apply(record(event(row, date_updated="2026-02-01"))) == "stale"
    assert model.activities("orga_1") == {}

    assert model.apply(record(event(row, date_updated="2026-02-03"))) == "applied"
    assert list(model.activities("orga_1")) == ["acti_1"]


def test_one_id_in_two_organizations_is_two_activities() -> None:
    model = Model()

    model.apply(record(event(note("acti_1"))))
    model.apply(record(event(note("acti_1"), organization_id="orga_2", date_updated="2020-01-01")))
    model.apply(record(deletion(note("acti_1"), organization_id="orga_2")))

    assert list(model.activities("orga_1")) == ["acti_1"]
    assert model.activities("orga_2") == {}


def test_what_data_lacks_is_filled() -> None:
    model = Model()

    model.apply(record(event({"date_created": "2026-01-01"}, object_id="a", lead_id="lead_9")))

    assert model.activities("orga_1")["a"] == {
        "_type": "Note",
        "id": "a",
        "organization_id": "orga_1",
        "lead_id": "lead_9",
        "contact_id": None,
        "user_id": None,
        "user_name": None,
        "users": [],
        "created_by": None,
        "created_by_name": None,
        "updated_by": None,
        "updated_by_name": None,
        "date_created": "2026-01-01T00:00:00+00:00",
        "date_updated": "2026-01-02T12:00:00.434000+00:00",
        "activity_at": "2026-01-01T00:00:00+00:00",
    }


def test_empty_ids_count_as_null() -> None:
    row = note("acti_1", lead_id="", user_id="", id="", organization_id="")

    model = Model()
    model.apply(record(event(row, object_id="acti_1", organization_id="orga_1", lead_id="lead_2")))

    shown = model.activities("orga_1")["acti_1"]
    assert (shown["lead_id"], shown["user_id"]) == ("lead_2", None)


def test_a_completed_task_has_no_contact() -> None:
    model = model_of(
        note("acti_1", _type="TaskCompleted"), note("acti_2", _type="TaskCompleted", contact_id="c")
    )

    shown = model.activities("orga_1")
    assert "contact_id" not in shown["acti_1"]
    assert shown["acti_2"]["contact_id"] == "c"


@pytest.mark.parametrize(
    ("fields", "body_preview"),
    [
        ({"body_text": "ä" * 201}, "ä" * 200),
        ({"body_text": ""}, None),
        ({"body_text": None}, None),
        ({"body_text": "a", "body_preview": ""}, ""),
        ({"body_text": "a", "body_preview": None}, "a"),
    ],
)
def test_the_preview_of_a_body_is_filled(fields: dict[str, Any], body_preview: str | None) -> None:
    model = model_of(email("acti_1", **fields))

    assert model.activities("orga_1")["acti_1"]["body_preview"] == body_preview


def test_unknown_fields_and_wrong_types_are_kept() -> None:
    kept: dict[str, Any] = {
        "duration": "long",
        "status": "brand-new",
        "custom.cf_1": [1, 2.5],
        "values_by_name": {"Price in $. (net)": {"$where": "", "": 1}},
        "pinned_at": "soon",  # known on a Note, not on a Call
    }

    model = model_of(note("acti_1", _type="Call", **kept))

    assert model.activities("orga_1")["acti_1"].items() >= kept.items()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        ("2026-01-02T10:00:00", "2026-01-02T10:00:00+00:00"),
        ("2026-01-02T10:00:00.001999999Z", "2026-01-02T10:00:00.001000+00:00"),
        ("2026-01-02T10:00:00.0009", "2026-01-02T10:00:00+00:00"),
        ("2026-01-02T00:30:00.5+01:00", "2026-01-01T23:30:00.500000+00:00"),
        ("2026-12-31T23:30:00-05:30", "2027-01-01T05:00:00+00:00"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999000+00:00"),
        ("0001-01-01", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999000+00:00"),
        ("2024-02-29", "2024-02-29T00:00:00+00:00"),
    ],
)
def test_date_times_are_cut_to_milliseconds_and_printed(text: str, printed: str) -> None:
    instant = parse_datetime(text)

    assert instant is not None
    assert instant.cut().text() == printed


def test_json_is_read_as_the_library_reads_it() -> None:
    for row in realistic_events(5, 50):
        value = record(row)

        assert parse_json(value) == json.loads(value)


def test_of_equal_keys_the_last_counts() -> None:
    assert parse_json(b' {"a": 1, "b": [], "a": {"]": [null, true, -0.5e1, "\\u00e9"]}} ') == {
        "a": {"]": [None, True, -5.0, "é"]},
        "b": [],
    }


@pytest.mark.parametrize("text", ["[1 2]", '{"a":}', "{,}", "[}", "nul", "-", '"', "1.", "[[]"])
def test_what_is_no_json_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="invalid_json"):
        parse_json(text.encode())


def test_depth_outside_data_is_no_fault() -> None:
    value = record(event(note("acti_1"), meta="HERE")).replace(b'"HERE"', b"[" * 5000 + b"]" * 5000)

    assert Model().apply(value) == "applied"


def test_data_may_be_64_levels_deep() -> None:
    levels = b"[" * 63 + b"]" * 63  # `data` is level 1

    value = record(event(note("acti_1", extra="HERE"))).replace(b'"HERE"', levels)

    assert Model().apply(value) == "applied"


# ---------------------------------------------------------------- contract 2: threads


@pytest.mark.parametrize(
    ("subject", "normalized"),
    [
        ("Re: Fwd:AW:wg: FW: Quote", "Quote"),
        ("undeliverable: UNDELIVERED: Quote  for \u00a0 you ", "Quote for you"),
        ("Re[2]: Quote", "Re[2]: Quote"),
        ("Re : Quote", "Re : Quote"),
        ("Reply: Quote", "Reply: Quote"),
        (" \t\u2003re:\u00a0", ""),
        (None, ""),
    ],
)
def test_marks_are_no_part_of_a_subject(subject: str | None, normalized: str) -> None:
    assert normalized_subject(subject) == normalized


def thread_of(**fields: Any) -> str:
    return thread_id({"organization_id": "orga_1", "lead_id": "lead_1", "id": "acti_1"} | fields)


def test_a_thread_is_decided_by_given_id_then_subject_then_root() -> None:
    by_subject = thread_of(subject="Straße")

    assert thread_of(subject="Straße", thread_id="given") == "given"
    assert by_subject == thread_of(subject="RE: STRASSE", references=["<1>"], thread_id="")
    assert by_subject != thread_of(subject="Straße", lead_id="lead_2")
    assert thread_of(subject="Re:", references=["", "<1>"]) == thread_of(message_ids=["<1>"])
    assert thread_of(lead_id=None, subject="A", envelope={"message_id": "<1>"}) == thread_of(
        lead_id=None, subject="B", envelope={"in_reply_to": "<1>"}, message_ids=["<2>"]
    )
    assert thread_of(subject="") != thread_of(subject="", id="acti_2")


def test_a_derived_id_is_43_digits_of_a_hash() -> None:
    number = int(hashlib.sha256(b"orga_1\0lead_1\0subject\0quote").hexdigest(), 16)
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    derived = thread_of(subject="AW: Quote")

    assert len(derived) == len("acti_") + 43
    value = 0
    for digit in derived.removeprefix("acti_"):
        value = value * 62 + alphabet.index(digit)
    assert value == number


def test_a_thread_is_made_of_its_members() -> None:
    model = model_of(
        email("acti_1", created_by="user_9", created_by_name="Nine", date_updated="2026-02-02"),
        email("acti_2", "2026-01-03", subject="Re: quote", user_id="user_1", user_name="One"),
        email("acti_3", "2026-01-04", subject="RE: QUOTE", sender='"Ada B" <ADA@x.test>'),
        email("acti_4", "2026-01-01", user_id="user_2", updated_by="user_3", updated_by_name="T"),
    )

    (thread,) = model.threads("orga_1").values()

    latest = thread.pop("latest_emails")
    assert [row["id"] for row in latest] == ["acti_3", "acti_2", "acti_1", "acti_4"]
    assert {len(row) for row in latest} == {17}
    assert thread == {
        "_type": "EmailThread",
        "id": thread_of(subject="quote"),
        "organization_id": "orga_1",
        "lead_id": "lead_1",
        "contact_id": None,
        "user_id": "user_1",
        "user_name": "One",
        "users": ["user_1", "user_2"],
        "created_by": None,
        "created_by_name": None,
        "updated_by": "user_3",
        "updated_by_name": "T",
        "date_created": "2026-01-04T00:00:00.001000+00:00",
        "activity_at": "2026-01-04T00:00:00.001000+00:00",
        "date_updated": "2026-02-02T00:00:00+00:00",
        "latest_normalized_subject": "QUOTE",
        "n_emails": 4,
        "participants": [{"email": "ADA@x.test", "name": "Ada B"}],
    }


def test_a_thread_ends_with_the_years() -> None:
    model = model_of(email("acti_1", "9999-12-31T23:59:59.999Z"))

    (thread,) = model.threads("orga_1").values()

    assert thread["activity_at"] == "9999-12-31T23:59:59.999000+00:00"


@pytest.mark.parametrize(
    ("fields", "people"),
    [
        ({"envelope": {"from": [None, {"email": "a@x", "name": 5}]}}, [("a@x", None)]),
        ({"envelope": {"from": [{"name": "A"}]}, "sender": "b@x"}, [("b@x", None)]),
        ({"sender": '"B, C" <b@x>'}, [("b@x", "B, C")]),
        ({"sender": "B C <b@x>"}, [("b@x", "B C")]),
        ({"sender": ""}, []),
        ({"sender": None, "envelope": None}, []),
    ],
)
def test_senders_come_from_the_envelope_or_the_sender(
    fields: dict[str, Any], people: list[tuple[str, str | None]]
) -> None:
    assert senders(fields) == people


def test_what_a_preview_lacks_is_empty() -> None:
    shown = preview({"id": "acti_1", "attachments": [{}], "to": None})

    assert (shown["to"], shown["cc"], shown["status"]) == ([], [], None)
    assert shown["has_attachments"] is True


def test_an_overlay_is_laid_over_its_thread_alone() -> None:
    data = note("t_1", _type="EmailThread", summary=None, importance={"type": "important"})
    model = model_of(email("acti_1", thread_id="t_1"), note("t_1"), data)

    thread = model.threads("orga_1")["t_1"]
    assert thread["summary"] is None
    assert thread["importance"] == {"type": "important"}
    assert "comment_summary" not in thread
    assert "importance" not in model.activities("orga_1")["t_1"]

    model.apply(record(deletion(data, date_updated="2027-01-01")))

    assert "importance" not in model.threads("orga_1")["t_1"]
    assert "t_1" in model.activities("orga_1")


def test_an_overlay_alone_makes_no_thread() -> None:
    model = model_of(note("t_1", _type="EmailThread", importance={}))

    assert model.threads("orga_1") == {}
    assert model.get("/activity/t_1/", [], "orga_1") == (404, None)


def test_an_email_that_moves_leaves_its_thread_right() -> None:
    model = model_of(email("acti_1"), email("acti_2"))
    (old,) = model.threads("orga_1")

    moved = email("acti_2", lead_id="lead_2")
    model.apply(record(event(moved, id="ev_9", date_updated="2026-03-03")))

    assert {id_: row["n_emails"] for id_, row in model.threads("orga_1").items()} == {
        old: 1,
        thread_of(subject="quote", lead_id="lead_2"): 1,
    }


def test_an_email_published_again_with_its_derived_id_stays_in_its_thread() -> None:
    model = model_of(email("acti_1"), email("acti_2"))
    read = model.activities("orga_1")["acti_2"] | {"subject": "Another"}

    model.apply(record(event(read, id="ev_9", date_updated="2026-03-03")))

    (thread,) = model.threads("orga_1").values()
    assert thread["n_emails"] == 2


# ---------------------------------------------------------------- contract 3: HTTP out


def test_rows_are_sorted_by_time_then_by_id() -> None:
    model = model_of(note("b"), note("a"), note("c", "2026-01-03"), note("B"))

    assert ids(model, []) == ["c", "b", "a", "B"]
    assert ids(model, [("_order_by", "date_created")]) == ["B", "a", "b", "c"]


def test_activity_at_orders_one_lead_alone() -> None:
    model = model_of(note("a", activity_at="2026-02-02"), note("b", activity_at="2026-02-01"))

    assert ids(model, [("_order_by", "activity_at"), ("lead_id", "lead_1")]) == ["b", "a"]
    assert faulty(model, [("_order_by", "activity_at")]) == {"_order_by"}
    assert faulty(model, [("_order_by", "-activity_at"), ("lead_id", "a,b")]) == {"_order_by"}


def test_a_thread_counts_as_greater_than_an_activity_with_its_id() -> None:
    rows = [email("m", thread_id="x"), note("x", "2026-01-02T10:00:00.001Z")]
    model = model_of(*rows)

    def types(order: str) -> list[str]:
        query = [("_order_by", order), ("thread_emails", "only")]
        return [row["_type"] for row in model.get("/activity", query, "orga_1")[1]["data"]]

    assert types("-date_created") == ["EmailThread", "Note"]
    assert types("date_created") == ["Note", "EmailThread"]


def test_pages_are_slices_of_the_walk() -> None:
    model = model_of(*(note(f"acti_{number}") for number in range(5)))

    walk = model.walk("/activity/", [("_limit", "2")], "orga_1")
    status, body = model.get("/activity/", [("_limit", "2"), ("_skip", "2")], "orga_1")

    assert len(walk) == 5
    assert (status, body) == (200, {"has_more": True, "data": walk[2:4]})


def test_a_limit_of_zero_tells_whether_anything_matches() -> None:
    model = model_of(note("a"))

    assert model.get("/activity/", [("_limit", "0")], "orga_1")[1] == {"has_more": True, "data": []}
    assert model.get("/activity/", [("_limit", "0")], "orga_2")[1]["has_more"] is False


@pytest.mark.parametrize(
    ("parameters", "name", "text"),
    [
        ([("_limit", "101")], "_limit", "max_limit = 100"),
        ([("_limit", "-1")], "_limit", ""),
        ([("_skip", "250001")], "_skip", "max_skip = 250000"),
        (
            [("_skip", "10001"), ("lead_id", ",".join(f"l{n}" for n in range(15)))],
            "_skip",
            "max_skip = 10000",
        ),
        ([("_type", "Fax"), ("lead_id", "lead_1")], "_type", "Fax"),
    ],
)
def test_limits_are_told(parameters: Parameters, name: str, text: str) -> None:
    status, refusal = Model().get("/activity/", parameters, "orga_1")

    assert status == 400
    right = {"error": f"{name}: {text}", "errors": [], "field-errors": {name: "no"}}
    assert refusal.is_told_by(right)
    assert not refusal.is_told_by(right | {"error": "no"})
    assert not refusal.is_told_by(right | {"field-errors": {}})


def test_up_to_200_scans_may_be_skipped_far() -> None:
    leads = ",".join(f"l{number}" for number in range(14))

    assert ids(Model(), [("_skip", "250000"), ("lead_id__in", leads)]) == []


@pytest.mark.parametrize("name", ["user_id", "user_id__in", "contact_id", "contact_id__in"])
def test_people_need_one_lead_but_not_on_own_lists(name: str) -> None:
    model = model_of(note("a", user_id="p", contact_id="p"), note("b", user_id="q"))

    assert faulty(model, [(name, "p")]) == {name}
    assert faulty(model, [(name, "p"), ("lead_id", "a,b"), ("lead_id__in", "c")]) == {name}
    assert ids(model, [(name, "p"), ("lead_id", "lead_1,x"), ("lead_id__in", "lead_1")]) == ["a"]
    assert ids(model, [(name, "p")], "/activity/note") == ["a"]


def test_types_need_one_lead_everywhere() -> None:
    assert faulty(Model(), [("_type", "Note")]) == {"_type"}
    assert faulty(Model(), [("_type__in", "Note")], "/activity/note/") == {"_type__in"}
    query = [("custom_activity_type_id", "actitype_1")]
    assert faulty(Model(), query, "/activity/custom/") == {"custom_activity_type_id"}
    assert ids(Model(), query) == []


def test_custom_types_are_filtered_by_name_or_id() -> None:
    model = model_of(
        note("a", _type="CustomActivity", custom_activity_type_id="actitype_1"),
        note("b", _type="CustomActivity", custom_activity_type_id="actitype_2"),
        note("c"),
    )
    lead = ("lead_id", "lead_1")

    assert ids(model, [lead, ("_type", "Custom")]) == ["b", "a"]
    assert ids(model, [lead, ("_type", "actitype_1,Note")]) == ["c", "a"]
    assert ids(model, [lead, ("_type", "actitype_1,Custom")]) == ["b", "a"]
    assert ids(model, [lead, ("_type", "actitype_1"), ("_type__in", "CustomActivity")]) == ["a"]
    assert ids(model, [lead, ("_type", "actitype_1"), ("_type__in", "actitype_2")]) == []
    query = [lead, ("custom_activity_type_id__in", "actitype_2,x")]
    assert ids(model, query, "/activity/custom/") == ["b"]


def test_bounds_belong_to_the_sorted_field() -> None:
    bound = ("activity_at__gt", "2026-01-01")
    lead = ("lead_id", "lead_1")

    assert faulty(Model(), [bound, lead]) == {"activity_at__gt"}
    assert ids(Model(), [bound, lead, ("_order_by", "-activity_at")]) == []


@pytest.mark.parametrize(
    ("name", "bound", "found"),
    [
        ("gt", "2026-01-02T10:00:00.001Z", ["c"]),
        ("gte", "2026-01-02T10:00:00.001Z", ["c", "b"]),
        ("lt", "2026-01-02T10:00:00.001Z", ["a"]),
        ("lte", "2026-01-02T10:00:00.001Z", ["b", "a"]),
        ("gt", "2026-01-02T10:00:00.0005", ["c", "b"]),
        ("lt", "2026-01-02T10:00:00.001000001", ["b", "a"]),
        ("gte", "2026-01-02T11:00:00.002 01:00", ["c"]),
    ],
)
def test_bounds_compare_exactly(name: str, bound: str, found: list[str]) -> None:
    model = model_of(
        note("a"), note("b", "2026-01-02T10:00:00.001Z"), note("c", "2026-01-02T10:00:00.002Z")
    )

    assert ids(model, [(f"date_created__{name}", bound)]) == found


@pytest.mark.parametrize(
    ("zone", "found"), [("0", ["a"]), ("-0.0", ["a"]), ("5.5", ["a"]), ("-4", []), ("-10", [])]
)
def test_naive_bounds_are_in_the_caller_s_zone(zone: str, found: list[str]) -> None:
    model = model_of(note("a", "2026-01-02T03:59:59Z"))

    assert ids(model, [("date_created__gte", "2026-01-02")], x_tz_offset=zone) == found
    assert ids(model, [("date_created__gte", "2026-01-02T00:00:00Z")], x_tz_offset=zone) == ["a"]


@pytest.mark.parametrize("zone", ["14.1", "-15", "x", "nan", "1e1", ""])
def test_a_wrong_zone_is_refused(zone: str) -> None:
    assert Model().get("/activity/", [], "orga_1", {"X-TZ-Offset": zone})[0] == 400


def test_lists_repeat_or_have_commas_and_empty_is_absent() -> None:
    model = model_of(note("a"), note("b", lead_id="lead_2"), note("c", lead_id="lead_3"))

    for query in (
        [("lead_id", "lead_1,lead_2")],
        [("lead_id", "lead_1"), ("lead_id", "lead_2")],
        [("lead_id__in", ",lead_1,,lead_2"), ("_type", ""), ("_limit", " ")],
        [("lead_id", " lead_1 ,lead_2")],
        [("lead_id[]", "lead_1"), ("lead_id[3]", "lead_2")],
    ):
        assert ids(model, query) == ["b", "a"]
    assert ids(model, [("lead_id", "lead_1,lead_2"), ("lead_id__in", "lead_2,lead_3")]) == ["b"]
    assert ids(model, [("lead_id", "lead_1"), ("lead_id__in", "lead_3")]) == []
    assert ids(model, [("lead_id[$ne]", "x"), ("$where", "1"), ("foo", "")]) == ["c", "b", "a"]


def test_an_empty_filter_by_ids_and_a_list_of_one_value_are_refused() -> None:
    assert faulty(Model(), [("lead_id", "")]) == {"lead_id"}
    assert faulty(Model(), [("id__in[]", " , ")]) == {"id__in"}
    assert faulty(Model(), [("form_id", "")], "/activity/form_submission/") == {"form_id"}
    assert faulty(Model(), [("_limit[]", "1")]) == {"_limit"}


def test_a_strict_request_is_told_what_is_unknown() -> None:
    asked = [("leadid", "a"), ("lead_id[]", "a"), ("_limit", "1")]

    for path, unknown in (
        ("/activity/", {"leadid"}),
        ("/activity/acti_1/", {"leadid", "lead_id[]", "_limit"}),
        ("/me/", {"leadid", "lead_id[]", "_limit"}),
    ):
        status, body = Model().get(path, asked, "orga_1", {"Prefer": "a=b, handling=strict"})
        assert status == 400
        assert {name for fault in body.faults for name in fault.parameters} == unknown
        assert Model().get(path, asked, "orga_1", {"Prefer": "handling=lenient"})[0] != 400


@pytest.mark.parametrize("name", ["lead_id", "lead_id__in", "id__in", "organization_id"])
def test_what_is_no_id_is_refused(name: str) -> None:
    assert faulty(Model(), [(name, '{"$gt":""}')]) == {name}


def test_too_many_ids_are_refused() -> None:
    many = ",".join(f"x{number}" for number in range(101))

    assert faulty(Model(), [("id__in", many)]) == {"id__in"}
    query = [("lead_id", many.removeprefix("x0,")), ("lead_id__in", "y")]
    assert faulty(Model(), query) == {"lead_id", "lead_id__in"}


def test_another_organization_is_an_empty_page() -> None:
    model = model_of(note("a"))

    assert ids(model, [("organization_id", "orga_2")]) == []
    assert ids(model, [("organization_id", "orga_2,orga_1")]) == ["a"]


def emails_and_more() -> Model:
    return model_of(note("n"), email("e", body_text="x", thread_id="t", contact_id="cont_1"))


@pytest.mark.parametrize(
    ("mode", "types", "found"),
    [
        ("", "", ["n", "e"]),
        ("false", "", ["n", "e"]),
        ("true", "", ["t", "n", "e"]),
        ("only", "", ["t", "n"]),
        ("", "Email", ["e"]),
        ("true", "Email", ["t", "e"]),
        ("only", "Email", ["t"]),
        ("", "EmailThread", ["t"]),
        ("true", "EmailThread", ["t"]),
        ("only", "EmailThread", ["t"]),
        ("only", "Note", ["n"]),
        ("", "Email,EmailThread", ["t", "e"]),
    ],
)
def test_the_mode_says_how_emails_appear(mode: str, types: str, found: list[str]) -> None:
    query = [("lead_id", "lead_1"), ("thread_emails", mode), ("_type", types)]

    assert ids(emails_and_more(), query) == found


def test_type_filters_intersect_before_the_mode() -> None:
    query = [("lead_id", "lead_1"), ("thread_emails", "only")]
    both = [*query, ("_type", "EmailThread"), ("_type__in", "Email")]

    assert ids(emails_and_more(), both) == []
    assert ids(emails_and_more(), query, "/activity/email/") == ["t"]
    assert ids(emails_and_more(), [*query, ("_type", "EmailThread")], "/activity/email/") == []
    assert ids(emails_and_more(), [], "/activity/emailthread/") == ["t"]


def test_threads_are_found_by_id_where_they_are_shown() -> None:
    model = emails_and_more()

    assert ids(model, [("id__in", "t,n")]) == ["n"]
    assert ids(model, [("id__in", "t,n"), ("thread_emails", "only")]) == ["t", "n"]


def test_a_person_is_found_on_any_email_of_a_thread() -> None:
    model = model_of(
        email("a", user_id="u_1", contact_id="c_1"), email("b", "2026-02-02", user_id="u_2")
    )
    path = "/activity/emailthread/"

    assert len(ids(model, [("user_id", "u_1"), ("contact_id", "c_1")], path)) == 1
    assert len(ids(model, [("user_id", "u_1"), ("user_id__in", "u_2")], path)) == 1
    assert ids(model, [("user_id", "u_3")], path) == []


def test_emails_beside_threads_are_stripped() -> None:
    model = emails_and_more()
    query = [("thread_emails", "true"), ("_fields", "_all")]

    rows = model.get("/activity/", query, "orga_1")[1]["data"]

    (row,) = [row for row in rows if row["_type"] == "Email"]
    assert "body_text" not in row
    assert "thread_id" not in row
    assert row["body_preview"] == "x"
    assert row["contact_id"] == "cont_1"
    assert len(row) == 15 + 17 - len(("id", "user_id", "date_created", "date_updated"))


def test_heavy_fields_come_only_when_asked_for() -> None:
    model = model_of(
        note("a", _type="Call", recording_transcript={}, voicemail_transcript=None),
        note("b", recording_transcript={}),
    )

    def keys(*fields: str) -> list[set[str]]:
        query = [("_fields", field) for field in fields]
        return [set(row) for row in model.get("/activity/", query, "orga_1")[1]["data"]]

    assert [("recording_transcript" in row) for row in keys()] == [True, False]
    assert keys("id,recording_transcript", "none") == [{"id", "recording_transcript"}] * 2
    assert ["voicemail_transcript" in row for row in keys("_all", "id")] == [False, True]
    assert keys("none") == [set(), set()]


def test_fields_may_be_indexed() -> None:
    model = model_of(note("a", note="x"))
    query = [("_fields[0]", "id"), ("_fields[1]", "note"), ("_fields[x]", "lead_id")]

    assert model.get("/activity/", query, "orga_1")[1]["data"] == [{"id": "a", "note": "x"}]


def test_one_activity_is_found_by_its_path() -> None:
    model = emails_and_more()

    assert model.get("/api/v1/activity/n", [("lead_id", "%")], "orga_1")[1]["id"] == "n"
    assert model.get("/activity/note/n/", [("_fields", "id")], "orga_1") == (200, {"id": "n"})
    for path in (
        "/activity/call/n/",
        "/activity/a b/",
        "/activity/none/",
        "/activity/fax/n/",
        "/x",
    ):
        assert model.get(path, [], "orga_1") == (404, None)
    assert model.get("/activity/n/", [], "orga_2")[0] == 404


def test_a_path_without_type_prefers_the_activity_to_the_thread() -> None:
    model = model_of(email("e", body_html="<p>", body_text_quoted=[], thread_id="e"))

    status, single = model.get("/activity/e/", [], "orga_1")
    _, thread = model.get("/activity/emailthread/e/", [], "orga_1")

    assert (status, single["_type"]) == (200, "Email")
    assert thread["_type"] == "EmailThread"
    assert set(single) - set(thread["emails"][0]) == {"body_html", "body_text_quoted"}
    assert "emails" not in model.get("/activity/emailthread/", [], "orga_1")[1]["data"][0]


def test_every_own_list_has_its_own_type() -> None:
    model = model_of(*(note(name, _type=name) for name in BY_NAME if name != "EmailThread"))

    for name, type_ in BY_NAME.items():
        if name != "EmailThread":
            assert ids(model, [], f"/activity/{type_.path}/") == [name]


@pytest.mark.parametrize(
    ("path", "name", "field", "value"),
    [
        ("status_change/opportunity", "opportunity_id", "opportunity_id", "oppo_1"),
        ("form_submission", "form_id", "form_id", "form_1"),
        ("form_submission", "form_id__in", "form_id", "form_1"),
        ("whatsapp_message", *["external_whatsapp_message_id"] * 2, "wamid.H=="),
    ],
)
def test_own_lists_have_filters_of_their_own(path: str, name: str, field: str, value: str) -> None:
    (type_,) = [row for row in BY_NAME.values() if row.path == path]
    model = model_of(note("a", _type=type_.name, **{field: value}), note("b", _type=type_.name))

    assert ids(model, [(name, value)], f"/activity/{path}/") == ["a"]
    assert ids(model, [(name, value)]) == ["b", "a"]


def test_a_cursor_of_one_s_own_making_is_refused() -> None:
    assert faulty(Model(), [("_cursor", "x")]) == {"_cursor"}
    assert faulty(Model(), [("_cursor", "x"), ("_skip", "1")]) == {"_cursor", "_skip"}


def test_me_is_one_organization() -> None:
    status, body = Model().get("/me/", [], "orga_1")

    assert status == 200
    assert body == {"id": "k", "name": "N", "organizations": [{"id": "orga_1", "name": "orga_1"}]}
    assert body != {"id": "k", "name": None, "organizations": [{"id": "orga_1", "name": "x"}]}


def test_params_of_a_body_win_over_the_query_string() -> None:
    query = [("lead_id", "a"), ("_limit", "5"), ("user_id", "u")]
    body = {"lead_id": ["b", "c"], "_limit": 7, "user_id": None, "thread_emails": True}

    assert with_params(query, body) == [
        ("lead_id", "b,c"),
        ("_limit", "7"),
        ("thread_emails", "true"),
    ]
    assert with_params(query, {"lead_id": {"$gt": ""}}) is None


def test_both_ways_to_write_fields_are_one_parameter_to_a_body() -> None:
    query = [("_fields", "a"), ("_fields[0]", "b"), ("_fields[x]", "c")]

    assert with_params(query, {"_fields[1]": None}) == [("_fields[x]", "c")]
    assert with_params(query, {"_fields": "d"}) == [("_fields[x]", "c"), ("_fields", "d")]


def test_a_cursor_in_the_query_string_beats_the_body_s() -> None:
    merged = with_params([("_cursor", "new")], {"_cursor": "old", "_skip": 5, "_limit": 1})

    assert merged == [("_cursor", "new"), ("_limit", "1")]
