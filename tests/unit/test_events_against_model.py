"""Every record means to the product what it means to the oracle: same outcome, same activity."""

import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.events import OVERLAY_SUFFIX, Change, Ignored, parse_event
from service.errors import Rejected
from tests import model
from tests.examples import examples
from tests.factories import (
    BAD_RECORDS,
    TYPE_NAMES,
    activity,
    bad_records,
    event,
    event_logs,
    instants,
    json_values,
    mailboxes,
    realistic_events,
    record,
)

OVERLAY_KEYS = ("summary", "importance", "comment_summary")


def told_by_product(value: bytes | None) -> object:
    """Outcome of a record, with everything that is stored of it."""
    try:
        change = parse_event(value)
    except Rejected as rejected:
        return rejected.code
    if isinstance(change, Ignored):
        return "ignored"
    is_overlay = change.id.endswith(OVERLAY_SUFFIX)
    return {
        "organization": change.organization_id,
        "id": change.id.removesuffix(OVERLAY_SUFFIX),
        "revision": change.revision,
        "thread": change.thread_id,
        "activity": _shown(_overlay(change) if is_overlay else change.activity),
    }


def _overlay(change: Change) -> dict[str, Any] | None:
    content = change.activity
    return content and {key: content[key] for key in OVERLAY_KEYS if key in content}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        assert value.tzinfo is None
        return value.isoformat() + "+00:00"
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def told_by_model(value: bytes | None) -> object:
    try:
        change = model.parse_event(value)
    except model.Rejected as rejected:
        return rejected.code
    if change is None:
        return "ignored"
    content = change.activity
    if content is not None and change.is_overlay:
        content = {key: content[key] for key in OVERLAY_KEYS if key in content}
    is_email = change.activity is not None and change.activity["_type"] == "Email"
    thread = change.activity["thread_id"] if is_email and change.activity else None
    return {
        "organization": change.organization,
        "id": change.id,
        "revision": f"{change.revision[0]:020d}/{change.revision[1]}",
        "thread": change.id if change.is_overlay else thread,
        "activity": model.shown(content),
    }


def assert_read_alike(value: bytes | None) -> None:
    """As texts, for in Python 1 == 1.0 == True."""
    product, oracle = told_by_product(value), told_by_model(value)

    assert json.dumps(product, sort_keys=True) == json.dumps(oracle, sort_keys=True)


@pytest.mark.parametrize(
    "value", [value for values in BAD_RECORDS.values() for value in values] + [None, b"5"]
)
def test_bad_records_are_refused_alike(value: bytes | None) -> None:
    assert_read_alike(value)


@pytest.mark.parametrize("type_name", TYPE_NAMES)
def test_every_type_is_read_alike(type_name: str) -> None:
    assert_read_alike(record(event(activity(type_name))))


def test_realistic_events_are_read_alike() -> None:
    for row in realistic_events(seed=7, count=500):
        assert_read_alike(record(row))


@settings(max_examples=examples(100), deadline=None)
@given(event_logs(min_size=5))
def test_generated_events_are_read_alike(log: list[bytes | None]) -> None:
    for value in log:
        assert_read_alike(value)


@settings(max_examples=examples(50), deadline=None)
@given(mailboxes())
def test_generated_emails_are_read_alike(log: list[bytes | None]) -> None:
    for value in log:
        assert_read_alike(value)


FRAGMENTS = [
    *(b"", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\x00", b"\xff", b"\n", b" "),
    *(b"null", b"true", b"1", b"-0", b"-0.0", b"1E400", b"NaN", b"9223372036854775808", b"1e-400"),
    *(b'"$ref":"a","$id":1', b'{"$ref":"a","$id":1}', b'"_id":1,', b'"\\u0000":1,', b'"\\ud83d"'),
    *(
        b'""',
        b'"a b"',
        b'"x"',
        b'"2026-01-02"',
        b"[[[[]]]]",
        b'"deleted"',
        b'"\\u0000"',
        b"\xc3\xa9",
    ),
]


@settings(max_examples=examples(400), deadline=None)
@given(st.data())
def test_damaged_records_are_read_alike(data: st.DataObject) -> None:
    type_name = data.draw(st.sampled_from(["Email", "Note", "TaskCompleted", "EmailThread"]))
    value = record(event({"_type": type_name, "id": "acti_1", "date_created": "2026-01-02"}))
    tokens = re.findall(rb'"[^"]*"|[0-9.]+|[a-z]+|[^\sa-z0-9"]', value)

    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        tokens[place] = data.draw(st.sampled_from(FRAGMENTS))

    assert_read_alike(b"".join(tokens))


KEYS = [
    *("_type", "id", "organization_id", "lead_id", "contact_id", "user_id", "created_by"),
    *("updated_by", "users", "date_created", "date_updated", "activity_at", "thread_id", "subject"),
    *("sender", "body_text", "body_preview", "references", "message_ids", "envelope", "date_sent"),
    *("date_answered", "pinned_at", "starts_at", "last_published_at", "opportunity_date_won"),
    *("user_note_date_updated", "recording_expires_at", "mentions_updated_at", "user_name", "to"),
]
VALUES = st.one_of(
    json_values,
    instants,
    st.sampled_from(["", "a", "acti_1", "a b", [], ["a"], [""], [1], {}, "2026-01-02T10:00:00.5"]),
    st.text(st.characters(codec="utf-8", categories=["Nd", "P", "Zs", "Lu"]), max_size=5),
)


@settings(max_examples=examples(400), deadline=None)
@given(
    st.sampled_from(TYPE_NAMES),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["lead_id", "date_updated", "action", "id"]), VALUES, max_size=1
    ),
)
def test_odd_fields_are_read_alike(
    type_name: str, fields: dict[str, Any], around: dict[str, Any]
) -> None:
    data = {"_type": type_name, "id": "acti_1", "date_created": "2026-01-02"}

    assert_read_alike(record(event(data) | {"data": data | fields} | around))


@settings(max_examples=examples(100), deadline=None)
@given(bad_records())
def test_generated_faults_are_refused_alike(pair: tuple[str, bytes]) -> None:
    code, value = pair

    assert told_by_product(value) == code == told_by_model(value)
