"""The schemas and the AsyncAPI document that producers are given (contract 1.7).

`asyncapi-3.0.0.json` is AsyncAPI's own published schema, as in the npm package `@asyncapi/specs`
6.11.1 (Apache License 2.0): the judge from outside.
"""

import copy
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema_rs import Draft7Validator
from jsonschema_rs import Draft202012Validator as QuickValidator

from consumers.asyncapi import build_document
from consumers.records import parse_value
from consumers.topics import choose_topic
from service.activities.decoding import decode_json
from service.activities.events import Ignored
from service.activities.examples import example_event
from service.activities.schemas import event_schema, events_schema, find_type
from service.activities.types import TYPES, ActivityType
from service.activities.wrappings import unwrapped, without_frame
from service.errors import Rejected
from tests.factories import BAD_RECORDS, TYPE_NAMES, WRAPPINGS, activity, event, record

PUBLISHED = Path(__file__).with_name("asyncapi-3.0.0.json")
TOPICS = ("activity.calls", "activity.emails", "activity.status_changes", "activity.events")
MAX_BYTES = 4 * 1024 * 1024
# 100,000 take two minutes.
COUNT = 100_000 if os.environ.get("LONG_TESTS") else 4_000

each_type = pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
whole = QuickValidator(events_schema())

# What the schema states that it cannot say (`EXCEPTIONS`), by what the consumer then says.
STATED = (
    "as the event says",
    "beyond signed 64 bits",
    "overflows a double",
    "nested deeper",
    "hold a NUL",
    "hold both a $ref",
    "day is out of range for month",
    "year 0 is out of range",
    "years 1 to 9999",
)


def is_stated(rejected: Rejected) -> bool:
    """Whether all that is wrong with it is among the stated exceptions."""
    return rejected.code == "too_large" or all(
        any(words in fault.reason for words in STATED) for fault in rejected.faults
    )


def told_apart(value: bytes) -> str:
    """`""` where schema and consumer agree, else how they differ."""
    outcome = parse_value(value, MAX_BYTES)
    try:
        content = unwrapped(decode_json(without_frame(value))[0])
    except ValueError:
        return "" if isinstance(outcome, Rejected) else "no JSON, and applied"
    if isinstance(outcome, Rejected) and is_stated(outcome):
        return ""
    is_taken = whole.is_valid(content)
    if isinstance(outcome, Rejected):
        return f"taken, and {outcome.code}: {outcome.message}" if is_taken else ""
    if isinstance(outcome, Ignored):
        return "taken, and ignored" if is_taken else ""
    return "" if is_taken else "not taken, and applied"


@each_type
def test_schemas_are_what_their_dialect_allows(row: ActivityType) -> None:
    schema = event_schema(row)

    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:activity-service:event:{row.object_type}"


def test_schema_of_all_is_what_its_dialect_allows() -> None:
    Draft202012Validator.check_schema(events_schema())


@each_type
def test_each_schema_takes_its_examples_and_no_other_types(row: ActivityType) -> None:
    schema = event_schema(row)
    validator = QuickValidator(schema)

    assert all(validator.is_valid(example) for example in schema["examples"])
    assert [one.name for one in TYPES if validator.is_valid(example_event(one.name))] == [row.name]


@pytest.mark.parametrize("word", ["activity.call", "Call"])
def test_types_are_found_by_both_names(word: str) -> None:
    found = find_type(word)
    assert found is not None
    assert found.name == "Call"
    assert find_type("call") is None


def test_open_enumerations_are_marked() -> None:
    field = event_schema(TYPES[0])["$defs"]["Call"]["properties"]["direction"]

    assert {"type": "string", "x-extensible-enum": ["inbound", "outbound"]} in field["anyOf"]


@pytest.mark.parametrize(
    "value", [value for values in BAD_RECORDS.values() for value in values] + [b"5", b'{"a":1}']
)
def test_bad_records_are_taken_by_neither(value: bytes) -> None:
    assert told_apart(value) == ""


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_wrapped_events_are_taken_by_both(wrap: Any) -> None:
    assert told_apart(wrap(event())) == ""


ODD: list[Any] = [
    *(None, True, 0, 5, -1, 1.5, 2**63, "", "a", "a b", "a\n", "acti_1", "x" * 129, "é", "deleted"),
    *([], [5], ["a"], [None], {}, {"a": 1}, {"email": 5}, [{"email": "a"}], [[]], "Note", "Call"),
    *("2026-01-02", "2026-02-30", "2026-01-02T10:00:00", "2026-01-02T10:00:00.123456789Z"),
    *("2026-01-02T24:00:00", "2026-01-02T10:00:00+24:00", "0000-01-01", "2026-13-01", "2026-1-2"),
    *("2026-01-02T10:00:00.+00:00", "2026-01-02 10:00:00", "0001-01-01T00:00:00+01:00"),
]
KEYS = ["$x", "_id", "_meta", "extra", "custom.cf_1", "a\0", "$", "date_created", "lead_id"]


def damage(row: dict[str, Any], rng: random.Random) -> None:
    """Another value, one value less or a key more, around the data or inside."""
    place = row
    if isinstance(row.get("data"), dict) and rng.random() < 0.8:
        place = row["data"]
        inner = [value for value in place.values() if isinstance(value, dict)]
        if inner and rng.random() < 0.2:
            place = rng.choice(inner)
    key = rng.choice([*place, *KEYS])
    if rng.random() < 0.2:
        place.pop(key, None)
    else:
        place[key] = copy.deepcopy(rng.choice(ODD))


def damaged_record(rng: random.Random) -> bytes:
    row = event(activity(rng.choice(TYPE_NAMES), rng=rng))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        damage(row, rng)
    if rng.random() < 0.1:
        return rng.choice(WRAPPINGS)(row)
    value = record(row)
    if rng.random() < 0.02:
        cut = rng.randrange(len(value))
        return value[:cut] + value[cut + 1 :]
    return value


def test_schema_and_consumer_agree_on_whatever_comes() -> None:
    rng = random.Random(26)
    outcomes: Counter[str] = Counter()
    for _ in range(COUNT):
        value = damaged_record(rng)
        assert told_apart(value) == "", value
        outcome = parse_value(value, MAX_BYTES)
        outcomes[outcome.code if isinstance(outcome, Rejected) else type(outcome).__name__] += 1

    # The damage is of all kinds.
    assert outcomes["EncodedChange"] > COUNT / 5
    assert min(outcomes["invalid_event"], outcomes["invalid_activity"]) > COUNT / 40
    assert {"id_mismatch", "type_mismatch", "organization_mismatch", "invalid_json"} <= set(
        outcomes
    )


def test_document_passes_the_published_schema() -> None:
    judge = Draft7Validator(json.loads(PUBLISHED.read_bytes()))
    document = build_document(TOPICS, "activity.dead_letters")

    assert [error.message for error in judge.iter_errors(document)] == []
    assert not judge.is_valid(document | {"channels": {"activity.calls": {"address": 5}}})


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = build_document(TOPICS, "activity.dead_letters")

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for one in value for found in references(one)]
        if not isinstance(value, dict):
            return []
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in references(one)]

    for reference in set(references(document)):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


@each_type
def test_payloads_of_the_document_take_the_examples(row: ActivityType) -> None:
    document = build_document(TOPICS, "activity.dead_letters")
    schema = {
        "$ref": f"#/components/schemas/{row.object_type}",
        "components": document["components"],
    }

    assert Draft7Validator(schema).is_valid(example_event(row.name))


def test_document_has_every_topic_and_every_type() -> None:
    document = build_document(("a.calls", "b"), "dead")

    assert list(document["channels"]) == ["a.calls", "b", "dead"]
    assert set(document["components"]["messages"]) == {
        *(row.object_type for row in TYPES),
        "dead_letter",
    }
    assert {one["action"] for one in document["operations"].values()} == {"receive", "send"}


@pytest.mark.parametrize(
    ("type_name", "topics", "topic"),
    [
        ("Call", TOPICS, "activity.calls"),
        ("EmailThread", TOPICS, "activity.emails"),
        ("LeadStatusChange", TOPICS, "activity.status_changes"),
        ("Note", TOPICS, "activity.events"),
        ("Call", ("crm.other", "crm.events"), "crm.events"),
        ("Call", ("one", "two"), "two"),
        ("Email", ("emails",), "emails"),
    ],
)
def test_event_goes_to_the_topic_of_its_family(
    type_name: str, topics: tuple[str, ...], topic: str
) -> None:
    assert choose_topic(type_name, topics) == topic
