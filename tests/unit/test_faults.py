"""A rejection names all that is wrong with a record, each with its place (contract 1.6)."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.events import Change, Ignored, parse_event
from service.errors import MAX_FAULTS_TOLD, Fault, Rejected, RejectionCode
from tests.examples import examples
from tests.factories import BAD_RECORDS, NOON, activity, event, record

ORDER = get_args(RejectionCode)


def rejection(value: bytes | object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_event(value if isinstance(value, bytes) else record(value))
    return caught.value


def pointers(value: object) -> list[str]:
    return [fault.pointer for fault in rejection(value).faults]


def test_nine_faults_need_one_try() -> None:
    row = {
        "object_type": "activity.email",
        "object_id": "acti 1",
        "date_created": "yesterday",
        "lead_id": 5,
        "data": {"users": "user_1", "subject": 5, "date_sent": "soon", "references": ["a", 1]},
    }

    rejected = rejection(row)

    assert rejected.code == "invalid_event"
    assert sorted(pointers(row)) == [
        "/action",
        "/data/date_created",
        "/data/date_sent",
        "/data/references/1",
        "/data/subject",
        "/data/users",
        "/date_created",
        "/id",
        "/lead_id",
        "/object_id",
        "/organization_id",
    ]
    assert "data.date_created: required; " in rejected.message
    assert "data.references[1]: a valid string; " in rejected.message
    assert "data.subject: a string or null; " in rejected.message


def test_place_tells_the_events_date_from_the_activitys() -> None:
    assert rejection(event({"note": "no date"})).message == "data.date_created: required"
    assert rejection(event(date_created=None)).message.startswith("date_created: ")


def test_date_that_fills_others_is_named_once() -> None:
    data = activity() | {"date_created": "soon", "activity_at": None, "date_updated": None}

    assert pointers(event() | {"data": data}) == ["/data/date_created"]


def test_faults_of_an_event_do_not_count_against_its_data() -> None:
    row = event() | {"object_id": 5, "organization_id": None, "lead_id": [], "date_created": "x"}

    assert pointers(row) == ["/object_id", "/organization_id", "/lead_id", "/date_created"]


def test_mismatches_come_before_what_is_invalid() -> None:
    data = {"_type": "Call", "id": "acti_2", "organization_id": "orga_2", "users": 5}

    rejected = rejection(event({"_type": "Note"}) | {"data": data | {"date_created": NOON}})

    assert [(fault.code, fault.pointer) for fault in rejected.faults] == [
        ("type_mismatch", "/data/_type"),
        ("id_mismatch", "/data/id"),
        ("organization_mismatch", "/data/organization_id"),
        ("invalid_activity", "/data/users"),
    ]


def test_data_of_a_delete_is_not_looked_at() -> None:
    row = event({"_type": "Call", "users": 5}, action="deleted", id=5)

    assert pointers(row) == ["/id"]


def test_excesses_are_named_where_they_are() -> None:
    data = activity() | {"extra": [{"a/b~c": 2**63}], "$x": {"\0": 1}}

    rejected = rejection(event() | {"data": data})

    assert pointers(event() | {"data": data}) == ["/data/$x", "/data/$x", "/data/extra/0/a~1b~0c"]
    assert "data.extra[0].a/b~c: an integer beyond signed 64 bits" in rejected.message


def test_message_stays_short_whatever_comes() -> None:
    data = activity() | {f"${number:0500}": 1 for number in range(500)}

    rejected = rejection(event() | {"data": data})

    assert len(rejected.faults) == 100
    assert rejected.message.endswith(f"; and {100 - MAX_FAULTS_TOLD} more")
    assert len(rejected.message) < 5000


def test_message_holds_nothing_that_a_terminal_obeys() -> None:
    assert str(Fault("invalid_activity", ("data", "a\x1b[31m\n"), "why")) == "data.a?[31m?: why"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("activity.cal", "activity.call"), ("activity.meetings", "activity.meeting")],
)
def test_type_that_is_nearly_known_is_told(word: str, meant: str) -> None:
    assert rejection({"object_type": word}).message == (
        f"object_type: {word!r} is not known: {meant!r} is meant"
    )


@pytest.mark.parametrize("code", BAD_RECORDS)
def test_every_bad_record_has_a_reason(code: str) -> None:
    for value in BAD_RECORDS[code]:
        rejected = rejection(value)
        assert rejected.faults[0].code == rejected.code == code
        assert all(fault.reason for fault in rejected.faults)


FAULTS: dict[str, Any] = {
    "/id": ("id", 5),
    "/object_id": ("object_id", "a b"),
    "/action": ("action", None),
    "/lead_id": ("lead_id", {}),
    "/date_updated": ("date_updated", "soon"),
    "/data/users": ("users", [5]),
    "/data/user_id": ("user_id", "a b"),
    "/data/date_sent": ("date_sent", 5),
    "/data/envelope": ("envelope", 5),
    "/data/thread_id": ("thread_id", 5),
    "/data/_meta": ("_meta", {}),
}


@settings(max_examples=examples(100))
@given(st.sets(st.sampled_from(list(FAULTS)), min_size=1))
def test_planted_faults_are_all_named_and_no_others(planted: set[str]) -> None:
    row, data = event(), activity("Email")
    for pointer in planted:
        key, value = FAULTS[pointer]
        (data if pointer.startswith("/data/") else row)[key] = value
    row |= {"object_type": "activity.email", "data": data}
    if "/object_id" not in planted:
        row["object_id"] = data["id"]

    named = {pointer.replace("/users/0", "/users") for pointer in pointers(row)}

    assert named == planted


def test_good_records_have_no_faults() -> None:
    assert isinstance(parse_event(record(event())), Change)
    assert isinstance(parse_event(record({"object_type": "lead"})), Ignored)
