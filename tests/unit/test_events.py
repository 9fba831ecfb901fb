"""An event to a change: contract 1.2 (events), 1.3 (`data`), 1.4 (types), 1.6 (codes)."""

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.events import Change, Ignored, parse_event
from service.activities.threads import derive_thread_id
from service.activities.types import BY_NAME, TYPES, ActivityType
from service.errors import Rejected
from tests.examples import examples
from tests.factories import NOON, activity, deletion, event, record

MEBIBYTE = 1024 * 1024
LONGEST_ID = "a" * 128
ID_CHARACTERS = "ABCXYZabcxyz0189_-.:@"

each_type = pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text().filter(lambda key: "\0" not in key), inner)
    ),
    max_leaves=15,
)


def parse(event_: object) -> Change:
    change = parse_event(record(event_))
    assert isinstance(change, Change)
    return change


def around(data: object, /, type_name: str = "Note", **fields: Any) -> dict[str, Any]:
    """An event that says the same whatever its `data` says."""
    object_type = BY_NAME[type_name].object_type
    told = {"object_type": object_type, "object_id": "acti_1", "lead_id": None, "data": data}
    return event({}) | told | fields


def with_data(type_name: str = "Note", /, **fields: Any) -> dict[str, Any]:
    """An event whose `data` is `_type`, `date_created` and these fields."""
    return around({"_type": type_name, "date_created": NOON} | fields, type_name)


def parse_data(type_name: str = "Note", /, **fields: Any) -> dict[str, Any]:
    """The activity of such an event."""
    change = parse(with_data(type_name, **fields))
    assert change.activity is not None
    return change.activity


def rejection(value: bytes | object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_event(value if isinstance(value, bytes) else record(value))
    return caught.value


def code_of(value: bytes | object) -> str:
    return rejection(value).code


def with_raw_data(text: str) -> bytes:
    """A note with a field of this JSON text."""
    return record(with_data(extra="HERE")).replace(b'"HERE"', text.encode())


# ---------------------------------------------------------------- the record (contract 1.2)


def test_null_value_is_ignored() -> None:
    assert isinstance(parse_event(None), Ignored)


@pytest.mark.parametrize(
    "object_type", ["lead", "contact.phone", "task", "notes", "", "activity", "Activity."]
)
def test_what_is_no_activity_is_ignored(object_type: str) -> None:
    assert isinstance(parse_event(record({"object_type": object_type, "id": 5})), Ignored)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("call", "activity.call"),
        ("Email", "activity.email"),
        ("lead_status_change", "activity.lead_status_change"),
        ("LeadStatusChange", "activity.lead_status_change"),
        ("WHATSAPPMESSAGE", "activity.whatsapp_message"),
        ("activity.EmailThread", "activity.email_thread"),
        ("Activity.Call", "activity.call"),
    ],
)
def test_a_slip_in_the_type_is_answered_with_the_word_that_was_meant(slip: str, meant: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_event(record({"object_type": slip, "id": 5}))

    assert caught.value.code == "unknown_type"
    assert f"{meant!r} is meant" in caught.value.message


@pytest.mark.parametrize("id_", ["a", LONGEST_ID, ID_CHARACTERS, "0", "-", ".."])
def test_ids_of_the_contract_are_taken(id_: str) -> None:
    change = parse(event({"date_created": NOON}, id=id_, object_id=id_, organization_id=id_))

    assert (change.event_id, change.id, change.organization_id) == (id_, id_, id_)


@pytest.mark.parametrize("key", ["id", "object_id", "organization_id"])
@pytest.mark.parametrize(
    "id_", ["", "a" * 129, "a b", "a\n", "a,b", "a!b", "a/b", "é", "\u0660", "\0", None, 5, ["a"]]
)
def test_anything_else_is_no_id(key: str, id_: object) -> None:
    assert code_of(event({"date_created": NOON}, **{key: id_})) == "invalid_event"


@pytest.mark.parametrize("lead_id", ["a b", "a" * 129, 5, False, ["lead_1"]])
def test_lead_of_the_event_is_an_id_or_null(lead_id: object) -> None:
    assert code_of(event(lead_id=lead_id)) == "invalid_event"
    assert code_of(deletion(lead_id=lead_id)) == "invalid_event"


def test_empty_lead_of_the_event_counts_as_null() -> None:
    least = {"date_created": NOON}
    filled = parse(around(least, lead_id="")).activity

    assert filled == parse(around(least, lead_id=None)).activity
    assert filled is not None
    assert filled["lead_id"] is None
    assert parse(deletion(lead_id="")).activity is None


@pytest.mark.parametrize("key", ["date_created", "date_updated"])
@pytest.mark.parametrize("value", ["", "now", "2026-02-30", 5, [], "2026-01-02T12:00:00+24:00"])
def test_dates_of_the_event_are_date_times(key: str, value: object) -> None:
    assert code_of(event(**{key: value})) == "invalid_event"
    assert code_of(deletion(**{key: value})) == "invalid_event"


@pytest.mark.parametrize("action", [None, 5, ["created"], {}])
def test_action_is_a_string(action: object) -> None:
    assert code_of(event(action=action)) == "invalid_event"


@pytest.mark.parametrize("key", ["id", "object_id", "action", "date_created", "organization_id"])
def test_required_keys_are_required_of_deletes_too(key: str) -> None:
    for whole in (event(), deletion()):
        assert code_of({name: value for name, value in whole.items() if name != key}) == (
            "invalid_event"
        )


@pytest.mark.parametrize("data", [None, [], "x", 5, True, [{"date_created": NOON}]])
def test_data_is_an_object(data: object) -> None:
    assert code_of(event() | {"data": data}) == "invalid_event"


@pytest.mark.parametrize("action", ["created", "updated", "answered", "Deleted", "", "x" * 500])
def test_any_action_but_deleted_sets(action: str) -> None:
    change = parse(event(action=action))

    assert change.activity is not None
    assert change.is_new == (action == "created")


@pytest.mark.parametrize("data", [None, {}, 5, {"_type": "Call", "id": 5, "$x": [], "_id": {}}])
def test_data_of_a_delete_is_not_looked_at(data: object) -> None:
    change = parse(deletion() | {"data": data})

    assert change.activity is None
    assert change.deviations == ()
    assert not change.is_new


@pytest.mark.parametrize(
    "rest",
    [
        {"previous_data": {"_id": 1, "$ref": "x", "$id": 1, "n": 10**30}},
        {"meta": 5, "changed_fields": "all", "user_id": ["x"], "request_id": {}},
        {"meta": {"a\0": 1e300}},
    ],
)
def test_nothing_else_around_data_is_examined(rest: dict[str, Any]) -> None:
    assert parse(event() | rest) == parse(event())


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "1e999", "-" + "9" * 5000])
def test_extreme_json_around_data_is_no_fault(text: str) -> None:
    value = record(event(meta="HERE")).replace(b'"HERE"', text.encode())

    assert parse_event(value) == parse(event())


def test_last_of_equal_keys_counts() -> None:
    value = record(event({"date_created": NOON, "note": "last"}, id="ev_last"))
    twice = b'{"id":5,"data":{"$x":[],"note":1},' + value[1:]
    inner = twice.replace(b'"note":"last"', b'"note":"first","note":"last"')

    assert parse_event(inner) == parse_event(value)


# ---------------------------------------------------------------- the revision (contract 1.5)


@pytest.mark.parametrize(
    ("dates", "microseconds"),
    [
        ({"date_created": "0001-01-01", "date_updated": None}, 0),
        ({"date_created": "0001-01-01T00:00:01.0000019", "date_updated": None}, 1_000_001),
        ({"date_created": "2026-01-02", "date_updated": "0001-01-01T00:00:00.000002"}, 2),
        ({"date_created": "2026-01-02", "date_updated": "0001-01-01T01:00:00+01:00"}, 0),
    ],
)
def test_revision_is_time_then_event_id(dates: dict[str, Any], microseconds: int) -> None:
    assert parse(event(id="ev_9") | dates).revision == f"{microseconds:020d}/ev_9"


def test_absent_date_updated_is_date_created() -> None:
    whole = event(date_created="2026-01-02", date_updated="2026-01-02")
    short = {key: value for key, value in whole.items() if key != "date_updated"}

    assert parse(short).revision == parse(whole).revision


def test_later_time_beats_any_event_id() -> None:
    older = parse(event(id="zzz", date_updated="2026-01-02T12:00:00.000001"))
    newer = parse(event(id="-", date_updated="2026-01-02T12:00:00.000002"))

    assert older.revision < newer.revision


def test_event_ids_of_one_time_stand_in_code_point_order() -> None:
    ids = sorted([*ID_CHARACTERS, *(f"A{character}" for character in ID_CHARACTERS), "A"])

    revisions = [parse(event(id=id_)).revision for id_ in ids]

    assert revisions == sorted(revisions)


# ---------------------------------------------------------------- filling (contract 1.3)


@each_type
def test_least_of_an_activity_is_filled(row: ActivityType) -> None:
    if row.name == "EmailThread":
        return  # what comes of it is an overlay, see below

    change = parse(
        event(
            {"date_created": NOON},
            object_type=row.object_type,
            object_id="acti_1",
            lead_id="lead_1",
            date_updated="2026-03-04T05:06:07.891234",
        )
    )

    nulls = dict.fromkeys(row.nullable_fields)
    expected = nulls | {
        "_type": row.name,
        "id": "acti_1",
        "organization_id": "orga_1",
        "lead_id": "lead_1",
        "date_created": datetime(2026, 1, 2, 12),
        "activity_at": datetime(2026, 1, 2, 12),
        "date_updated": datetime(2026, 3, 4, 5, 6, 7, 891_000),
        "users": [],
    }
    if row.name == "Email":
        expected["thread_id"] = derive_thread_id("orga_1", expected)
    assert change.activity == expected
    assert change.deviations == ()


def test_null_is_filled_like_an_absent_field() -> None:
    names = [
        *("id", "_type", "organization_id", "lead_id", "contact_id", "user_id", "user_name"),
        *("created_by", "created_by_name", "updated_by", "updated_by_name", "users"),
        *("date_updated", "activity_at"),
    ]

    nulls = parse(around(dict.fromkeys(names) | {"date_created": NOON}, lead_id="lead_1"))
    least = parse(around({"date_created": NOON}, lead_id="lead_1"))

    assert nulls == least


def test_what_is_given_is_not_filled() -> None:
    given = {"lead_id": "lead_2", "users": ["user_1"], "user_name": "A", "updated_by": "user_2"}
    times = {"date_updated": "2026-01-03", "activity_at": "2025-12-31T23:00:00-01:00"}

    filled = parse(event({"date_created": NOON} | given | times, lead_id="lead_1")).activity

    assert filled is not None
    assert {key: filled[key] for key in given} == given
    assert filled["date_updated"] == datetime(2026, 1, 3)
    assert filled["activity_at"] == datetime(2026, 1, 1)


def test_absent_date_updated_is_that_of_the_event() -> None:
    whole = event({"date_created": "2020-01-01"}, date_created="2026-01-05")
    whole.pop("date_updated")

    filled = parse(whole).activity

    assert filled is not None
    assert filled["date_updated"] == datetime(2026, 1, 5)


@pytest.mark.parametrize("lead_id", [{}, {"lead_id": None}, {"lead_id": ""}])
def test_lead_comes_from_the_event_where_data_has_none(lead_id: dict[str, Any]) -> None:
    data = {"date_created": NOON} | lead_id

    for told in ("lead_7", None):
        filled = parse(around(data, lead_id=told)).activity
        assert filled is not None
        assert filled["lead_id"] == told


@pytest.mark.parametrize("field", ["lead_id", "contact_id", "user_id", "created_by", "updated_by"])
def test_empty_id_counts_as_null(field: str) -> None:
    assert parse_data(**{field: ""})[field] is None


def test_empty_ids_of_the_activity_itself_are_filled() -> None:
    filled = parse_data(id="", organization_id="")

    assert (filled["id"], filled["organization_id"]) == ("acti_1", "orga_1")


def test_completed_task_gets_no_contact() -> None:
    assert "contact_id" not in parse_data("TaskCompleted")


@pytest.mark.parametrize(("given", "kept"), [("cont_1", "cont_1"), (None, None), ("", None)])
def test_contact_of_a_completed_task_is_kept(given: str | None, kept: str | None) -> None:
    assert parse_data("TaskCompleted", contact_id=given)["contact_id"] == kept


# ---------------------------------------------------------------- emails (contract 1.3 and 2)


@pytest.mark.parametrize(
    ("fields", "preview"),
    [
        ({}, None),
        ({"body_text": None}, None),
        ({"body_text": ""}, None),
        ({"body_text": "", "body_preview": None}, None),
        ({"body_text": "é" * 201}, "é" * 200),
        ({"body_text": "😀" * 200}, "😀" * 200),
        ({"body_text": " \n"}, " \n"),
        ({"body_text": "text", "body_preview": None}, "text"),
        ({"body_text": "text", "body_preview": ""}, ""),
        ({"body_text": "text", "body_preview": "other"}, "other"),
    ],
)
def test_preview_is_the_first_characters_of_the_body(
    fields: dict[str, Any], preview: str | None
) -> None:
    assert parse_data("Email", **fields)["body_preview"] == preview


def test_other_types_get_no_preview() -> None:
    assert "body_preview" not in parse_data("SMS", body_text="text")


def test_thread_of_the_producer_is_taken() -> None:
    change = parse(with_data("Email", thread_id="acti_T", subject="Hi"))

    assert change.thread_id == "acti_T"
    assert change.activity is not None
    assert change.activity["thread_id"] == "acti_T"


@pytest.mark.parametrize("thread_id", [{}, {"thread_id": ""}, {"thread_id": None}])
def test_thread_is_derived_and_shown_otherwise(thread_id: dict[str, Any]) -> None:
    change = parse(with_data("Email", subject="Hi", lead_id="lead_1", **thread_id))

    assert change.activity is not None
    email = {"lead_id": "lead_1", "subject": "hi", "id": "acti_1"}
    assert change.thread_id == derive_thread_id("orga_1", email)
    assert change.activity["thread_id"] == change.thread_id


def test_thread_is_derived_from_the_filled_lead() -> None:
    data = {"_type": "Email", "id": "acti_1", "date_created": NOON, "subject": "Hi"}

    filled = parse(event(data, lead_id="lead_1"))
    given = parse(event(data | {"lead_id": "lead_1"}, lead_id="lead_2"))

    assert filled.thread_id == given.thread_id


def test_other_types_have_no_thread() -> None:
    change = parse(with_data("Note", thread_id="acti_T"))

    assert change.thread_id is None
    assert change.activity is not None
    assert change.activity["thread_id"] == "acti_T"


def test_deleted_email_has_no_thread() -> None:
    assert parse(deletion(activity("Email"))).thread_id is None


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "x" * MEBIBYTE},
        {"sender": "x" * MEBIBYTE},
        {"to": ["a@x.test"] * 60_000},
        {"to": [1] * 150_000},
        {"envelope": {"extra": [{"email": "a@x.test"}] * 40_000}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_email_with_a_huge_preview_is_too_large(fields: dict[str, Any]) -> None:
    assert code_of(with_data("Email", **fields)) == "too_large"


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "x" * (MEBIBYTE - 1000)},
        {"body_text": "x" * 3 * MEBIBYTE},
        {"attachments": [{"url": "https://x.test/"}] * 60_000},
        {"extra": "x" * 2 * MEBIBYTE},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_email_with_a_small_preview_may_be_huge(fields: dict[str, Any]) -> None:
    assert parse_data("Email", **fields)["_type"] == "Email"


def test_other_types_may_hold_what_a_preview_may_not() -> None:
    assert len(parse_data("Note", subject="x" * 2 * MEBIBYTE)["subject"]) == 2 * MEBIBYTE


# ---------------------------------------------------------------- overlays (contract 2)

OVERLAY: dict[str, Any] = {
    "summary": {"status": "success", "summary_text": "Short."},
    "importance": {"type": "important", "reason": "manual"},
    "comment_summary": {"comment_count": 1, "thread_id": "x"},
}


def test_thread_event_is_an_overlay() -> None:
    change = parse(event(activity("EmailThread", id="acti_T", **OVERLAY)))

    assert change.id == "acti_T!overlay"
    assert change.thread_id == "acti_T"
    assert change.activity == {"id": "acti_T", "organization_id": "orga_1", **OVERLAY}


def test_overlay_holds_only_what_came() -> None:
    change = parse(with_data("EmailThread", summary=None, n_emails=3))

    assert change.activity == {"id": "acti_1", "organization_id": "orga_1", "summary": None}


def test_delete_of_a_thread_removes_the_overlay() -> None:
    change = parse(deletion({"_type": "EmailThread", "id": "acti_T"}))

    assert (change.id, change.thread_id, change.activity) == ("acti_T!overlay", "acti_T", None)


def test_data_of_a_thread_event_is_checked_like_any() -> None:
    assert code_of(event({"_type": "EmailThread", "id": "acti_T"})) == "invalid_activity"
    assert parse(with_data("EmailThread", summary="text")).deviations == (
        ("EmailThread", "summary"),
    )


# ---------------------------------------------------------------- hard fields (contract 1.3)


@pytest.mark.parametrize("field", ["lead_id", "contact_id", "user_id", "created_by", "updated_by"])
@pytest.mark.parametrize("value", ["a b", "a" * 129, "é", "a\n", 0, 5, False, [], {}, ["a"]])
def test_wrong_id_is_refused(field: str, value: object) -> None:
    assert code_of(with_data(**{field: value})) == "invalid_activity"
    assert code_of(with_data("TaskCompleted", **{field: value})) == "invalid_activity"


@pytest.mark.parametrize("value", ["user_1", {}, 5, False, "", [None], [5], ["a", ["b"]]])
def test_users_are_strings(value: object) -> None:
    assert code_of(with_data(users=value)) == "invalid_activity"


def test_users_may_be_any_strings() -> None:
    assert parse_data(users=["", "a b", "é"])["users"] == ["", "a b", "é"]


@each_type
def test_known_date_times_parse_or_are_null(row: ActivityType) -> None:
    values: list[object] = ["", "soon", 5, False, [], {}, "2026-02-30"]
    for field in row.datetime_fields:
        for value in values:
            assert code_of(with_data(row.name, **{field: value})) == "invalid_activity"


@each_type
def test_known_date_times_are_converted(row: ActivityType) -> None:
    if row.name == "EmailThread":
        return

    given = dict.fromkeys(row.datetime_fields, "2026-01-02T13:00:00.123999+01:00")
    filled = parse_data(row.name, **given)

    for field in row.datetime_fields:
        assert filled[field] == datetime(2026, 1, 2, 12, 0, 0, 123_000)


@each_type
def test_own_date_times_may_be_null(row: ActivityType) -> None:
    own = row.datetime_fields - {"date_created", "date_updated", "activity_at"}

    filled = parse_data(row.name, **dict.fromkeys(own))

    assert all(filled[field] is None for field in own)


@pytest.mark.parametrize("data", [{}, {"date_created": None}])
def test_date_created_is_required(data: dict[str, Any]) -> None:
    assert code_of(event(data)) == "invalid_activity"


def test_date_times_below_the_top_stay_as_they_came() -> None:
    opens = [{"opened_at": "2026-01-02T12:00:00Z"}, {"opened_at": "soon"}]

    assert parse_data("Email", opens=opens)["opens"] == opens


def test_date_times_of_other_types_stay_as_they_came() -> None:
    assert parse_data("Note", date_sent="2026-01-02", starts_at=5)["date_sent"] == "2026-01-02"


NO_TEXTS: list[object] = [5, False, [], {}, ["x"]]
NO_LISTS: list[object] = ["x", 5, False, {}, [5], [None], [["x"]]]
NO_IDS: list[object] = ["a b", "a" * 129, 5, False, [], {}]
NO_OBJECTS: list[object] = ["x", 5, False, [], [{}]]
WRONG = {
    "thread_id": NO_IDS,
    "subject": NO_TEXTS,
    "sender": NO_TEXTS,
    "body_text": NO_TEXTS,
    "references": NO_LISTS,
    "message_ids": NO_LISTS,
    "envelope": NO_OBJECTS,
}
HARD_OF_EMAILS = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("field", "value"), HARD_OF_EMAILS)
def test_hard_fields_of_an_email_are_refused(field: str, value: object) -> None:
    assert code_of(with_data("Email", **{field: value})) == "invalid_activity"


@pytest.mark.parametrize(("field", "value"), HARD_OF_EMAILS)
def test_hard_fields_of_emails_are_soft_elsewhere(field: str, value: object) -> None:
    assert parse_data("SMS", **{field: value})[field] == value


@pytest.mark.parametrize(
    "field", ["subject", "sender", "body_text", "references", "message_ids", "envelope"]
)
def test_hard_fields_of_an_email_may_be_null(field: str) -> None:
    change = parse(with_data("Email", **{field: None}))

    assert change.activity is not None
    assert change.activity[field] is None
    assert change.deviations == ()


# ---------------------------------------------------------------- deviations (contract 1.3)


@each_type
def test_full_activity_does_not_deviate(row: ActivityType) -> None:
    assert parse(event(activity(row.name))).deviations == ()


@pytest.mark.parametrize(
    ("type_name", "field", "value"),
    [
        ("Call", "status", "ringing"),
        ("Call", "duration", "90"),
        ("Call", "duration", 1.5),
        ("Call", "duration", True),
        ("Call", "has_recording", 1),
        ("Call", "note", None),
        ("Call", "recording_transcript", "text"),
        ("Call", "recording_transcript", {"utterances": [{"speaker_side": "robot"}]}),
        ("Email", "to", "a@x.test"),
        ("Email", "to", ["a@x.test", None]),
        ("Email", "need_smtp_credentials", 0),
        ("Email", "body_preview", 5),
        ("Email", "body_text_quoted", {"text": "a", "expand": True}),
        ("Email", "envelope", {"from": "a@x.test"}),
        ("Email", "envelope", {"from": [{"email": 5}], "is_autoreply": None}),
        ("Email", "opens", [{"opened_at": "soon"}]),
        ("Note", "user_name", 5),
        ("Note", "comment_summary", {"comment_count": "1"}),
        ("SMS", "direction", "incoming"),
        ("Meeting", "attendees", [{"status": "late"}]),
        ("Meeting", "_paused_subscriptions", {}),
        ("FormSubmission", "values", {"formfld_1": ["a"]}),
        ("OpportunityStatusChange", "opportunity_value", 1.0),
        ("ImportUpdate", "reverted", "no"),
    ],
)
def test_deviation_is_kept_and_named(type_name: str, field: str, value: object) -> None:
    change = parse(with_data(type_name, **{field: value}))

    assert change.activity is not None
    assert repr(change.activity[field]) == repr(value)
    assert change.deviations == ((type_name, field),)


def test_deviating_field_is_named_once() -> None:
    attendees = [{"status": "late", "email": 5}, {"name": 5, "status": 7}]

    change = parse(with_data("Meeting", attendees=attendees, status="x", title=5))

    assert sorted(change.deviations) == [
        ("Meeting", "attendees"),
        ("Meeting", "status"),
        ("Meeting", "title"),
    ]


def test_hard_fault_among_deviations_is_found() -> None:
    assert code_of(with_data("Email", status="x", to=5, references=[5])) == "invalid_activity"


@pytest.mark.parametrize("field", ["status", "envelope", "titel", "custom.cf_1"])
def test_unknown_field_is_no_deviation(field: str) -> None:
    assert parse(with_data("Created", **{field: {"any": 1}})).deviations == ()


# ---------------------------------------------------------------- what is kept (contract 1.3)


@pytest.mark.parametrize(
    "text",
    [
        *("1.0", "-0.0", "1e5", "100000.0", "0", "1", "true", "9223372036854775807"),
        *("-9223372036854775808", "1.7976931348623157e308", "5e-324", '"\\u0000"', '""', "[]"),
        '{"Price in $. (net)":"5","a.b":{"$set":{"":1}},"_id":1,"_meta":{"x":[]}}',
        '{"$ref":5,"$id":1}',
        '[{"$ref":"x"},{"$id":"y"}]',
    ],
)
def test_unknown_field_is_kept_unchanged(text: str) -> None:
    change = parse_event(with_raw_data(text))

    assert isinstance(change, Change)
    assert change.activity is not None
    assert repr(change.activity["extra"]) == repr(json.loads(text))


def test_odd_top_level_keys_are_kept() -> None:
    odd = {"custom.cf_1": "a", "": 1, "a$": 2, "id ": 3, "_ids": 4, "é😀": 5, " $x": 6}

    assert parse_data("CustomActivity", **odd).items() >= odd.items()


@settings(max_examples=examples(75))
@given(st.dictionaries(st.text().map(lambda key: "x" + key.replace("\0", "")), json_values))
def test_whatever_is_unknown_is_kept_byte_for_byte(extra: dict[str, Any]) -> None:
    filled = parse_data("Note", **extra)

    assert json.dumps({key: filled[key] for key in extra}) == json.dumps(extra)


@each_type
def test_full_activity_is_kept_but_for_its_date_times(row: ActivityType) -> None:
    data = activity(row.name)
    change = parse(event(data))
    assert change.activity is not None
    keys = (change.activity.keys() if row.name == "EmailThread" else data.keys()) - (
        row.datetime_fields | {"thread_id"}
    )

    assert json.dumps([change.activity[key] for key in keys]) == json.dumps(
        [data[key] for key in keys]
    )


# ---------------------------------------------------------------- limits (contract 1.3)


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "-9223372036854775809",
        "9" * 5000,
        "1e309",
        "-1E+0309",
        "9" * 400 + ".0",
        "[" * 64 + "]" * 64,
        "[" * 150 + "]" * 150,
        "[" * 5000 + "]" * 5000,
        '{"a":' * 64 + "1" + "}" * 64,
        '{"a\\u0000b":1}',
        '{"$ref":"","$id":null}',
        '[[{"\\u0024ref":"x","\\u0024id":1}]]',
    ],
)
def test_what_no_document_holds_is_refused(text: str) -> None:
    assert code_of(with_raw_data(text)) == "invalid_activity"


@pytest.mark.parametrize("text", ["[" * 63 + "]" * 63, '{"a":' * 63 + "1" + "}" * 63])
def test_sixty_four_levels_are_fine(text: str) -> None:
    assert isinstance(parse_event(with_raw_data(text)), Change)


@pytest.mark.parametrize("key", ["$set", "$", "_id", "_meta", "a\0"])
def test_key_of_the_store_is_refused(key: str) -> None:
    assert code_of(with_data(**{key: None})) == "invalid_activity"


def test_webhook_adds_no_level() -> None:
    inner = with_data(extra=json.loads("[" * 63 + "]" * 63))

    assert parse({"subscription_id": "whsub_1", "event": inner}).activity is not None


# ---------------------------------------------------------------- codes (contract 1.6)

UNKNOWN: dict[str, Any] = {"object_type": "activity.fax"}
MISMATCHED: dict[str, Any] = {"_type": "Call", "id": "acti_2", "organization_id": "orga_2"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b'{"object_type":"activity.fax"', "invalid_json"),
        (record(UNKNOWN).replace(b"}", b',"x":NaN}'), "invalid_json"),
        (record(event()) + b"\xff", "invalid_json"),
        (b"\xef\xbb\xbf" + record(event()), "invalid_json"),
        (b"[]", "invalid_event"),
        (b'"activity.note"', "invalid_event"),
        (record({"id": 5}), "invalid_event"),
        (record({"object_type": ["activity.note"]}), "invalid_event"),
        (record(UNKNOWN | {"id": 5, "data": 5}), "unknown_type"),
        (record(deletion() | UNKNOWN), "unknown_type"),
        (record(event({"_type": 5}, object_type="activity.note", id="")), "invalid_event"),
        (record(with_data(**MISMATCHED | {"id": 5})), "invalid_activity"),
        (record(around(MISMATCHED | {"organization_id": []})), "invalid_activity"),
        (record(around(MISMATCHED | {"id": "", "_type": None})), "organization_mismatch"),
        (record(event() | {"data": MISMATCHED}), "type_mismatch"),
        (record(event() | {"data": MISMATCHED | {"_type": "Note"}}), "id_mismatch"),
        (record(event() | {"data": {"organization_id": "orga_2"}}), "organization_mismatch"),
        (record(event() | {"data": {"_type": "", "$x": 1}}), "type_mismatch"),
        (record(event() | {"data": {"id": "a b"}}), "id_mismatch"),
        (record(event() | {"data": {"$x": 1}}), "invalid_activity"),
        (record(around(MISMATCHED, action=5)), "invalid_event"),
    ],
)
def test_first_code_that_applies_is_given(value: bytes, code: str) -> None:
    assert code_of(value) == code


def test_rejection_says_whose_record_it_was() -> None:
    rejected = rejection(event(organization_id="orga_7", id="ev_7", action=None))

    assert (rejected.organization_id, rejected.event_id) == ("orga_7", "ev_7")


@pytest.mark.parametrize("odd", [5, None, "", "a b", "x" * 129, ["orga_1"]])
def test_rejection_says_nothing_that_is_no_id(odd: object) -> None:
    rejected = rejection(event(organization_id=odd, id=odd))

    assert (rejected.organization_id, rejected.event_id) == (None, None)


def test_rejection_of_a_webhook_says_whose_it_was() -> None:
    rejected = rejection({"subscription_id": "whsub_1", "event": event() | UNKNOWN})

    assert (rejected.code, rejected.organization_id, rejected.event_id) == (
        "unknown_type",
        "orga_1",
        "ev_1",
    )


def test_rejection_names_the_field_and_not_its_value() -> None:
    rejected = rejection(with_data("Email", envelope="secret"))

    assert "envelope" in rejected.message
    assert "secret" not in rejected.message


# ---------------------------------------------------------------- whatever comes

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
event_keys = st.sampled_from([*event(), "subscription_id", "event"])
data_keys = st.sampled_from([*activity("Email"), *activity("Meeting"), "$x", "_id", "_meta"])


@settings(max_examples=examples(150))
@given(
    st.sampled_from(TYPES),
    st.dictionaries(event_keys, anything, max_size=2),
    st.dictionaries(data_keys, anything, max_size=3),
)
def test_whatever_json_comes_is_a_change_or_rejected(
    row: ActivityType, odd: dict[str, Any], fields: dict[str, Any]
) -> None:
    value = json.dumps(around(activity(row.name) | fields, row.name) | odd)

    assert_outcome(value.encode())


@settings(max_examples=examples(200))
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\0e-ntu ', max_size=40).map(str.encode))
def test_whatever_bytes_come_are_an_outcome(value: bytes) -> None:
    assert_outcome(value)


def assert_outcome(value: bytes) -> None:
    with suppress(Rejected):
        assert isinstance(parse_event(value), Change | Ignored)
