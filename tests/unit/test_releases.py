"""What producers of the last release send is still taken; widening is free (contract 1.7)."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploy.local.releases import ADVICE, find_narrowings, released_schemas
from service.activities.schemas import event_schema
from service.activities.types import BY_OBJECT_TYPE, TYPES

RELEASED = released_schemas()

Change = Callable[[dict[str, Any]], None]


def test_there_is_a_release() -> None:
    assert len(RELEASED) >= 15


@pytest.mark.parametrize("object_type", RELEASED)
def test_nothing_is_narrower_than_in_the_last_release(object_type: str) -> None:
    row = BY_OBJECT_TYPE.get(object_type)

    assert row is not None, f"{object_type} is no type any more. {ADVICE}"
    narrowings = find_narrowings(RELEASED[object_type], event_schema(row))
    assert narrowings == [], f"{object_type}: {'; '.join(map(str, narrowings))}. {ADVICE}"


def narrowed(object_type: str, change: Change) -> list[str]:
    """What is found where the schema is changed so."""
    old = event_schema(BY_OBJECT_TYPE[object_type])
    new = copy.deepcopy(old)
    change(new)
    return [str(one) for one in find_narrowings(old, new)]


def fields(schema: dict[str, Any], model: str) -> Any:
    return schema["$defs"][model]["properties"]


def drop_null(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["cost"]["anyOf"].remove({"type": "null"})


def drop_word(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["direction"]["anyOf"][0]["x-extensible-enum"].remove("inbound")


def harden(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["duration"] = {"type": "integer"}


def retype(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["duration"]["anyOf"][0]["type"] = "string"


def require(schema: dict[str, Any]) -> None:
    schema["$defs"]["Call"]["required"].append("user_id")


def require_around(schema: dict[str, Any]) -> None:
    schema["required"] = [*schema["required"], "date_updated"]


def remove(schema: dict[str, Any]) -> None:
    del fields(schema, "Call")["phone"]


def narrow_id(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["user_id"] = {"type": ["string", "null"], "pattern": "^user_"}


def narrow_part(schema: dict[str, Any]) -> None:
    utterance = fields(schema, "Utterance")
    utterance["start"]["anyOf"][0] = {"type": "integer"}


def forbid_deletes(schema: dict[str, Any]) -> None:
    del schema["anyOf"][1]


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (drop_null, "data.cost", "took null"),
        (drop_word, "data.direction", "took 'inbound'"),
        (harden, "data.duration", "kept whatever its type"),
        (retype, "data.duration", "took integer"),
        (require, "data.user_id", "is required now"),
        (require_around, "date_updated", "is required now"),
        (remove, "data.phone", "is none any more"),
        (narrow_id, "data.user_id", "pattern is another"),
        (narrow_part, "data.recording_transcript.utterances[].start", "took number"),
        (forbid_deletes, "data", "is required now"),
    ],
)
def test_narrowing_is_found_and_named(change: Change, place: str, words: str) -> None:
    (found,) = [one for one in narrowed("activity.call", change) if one.startswith(f"{place}: ")]

    assert words in found


def add_field(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["mood"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Deviation"}]}


def add_word(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["direction"]["anyOf"][0]["x-extensible-enum"].append("sideways")


def add_choice(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["duration"]["anyOf"].insert(0, {"type": "string"})


def allow_floats(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["duration"]["anyOf"][0]["type"] = "number"


def soften(schema: dict[str, Any]) -> None:
    fields(schema, "Call")["user_id"] = {}


def require_less(schema: dict[str, Any]) -> None:
    schema["required"] = schema["required"][1:]


def add_model(schema: dict[str, Any]) -> None:
    schema["$defs"]["Mood"] = {"type": "object", "required": ["colour"]}


def say_it_otherwise(schema: dict[str, Any]) -> None:
    schema["description"] = fields(schema, "Call")["phone"]["description"] = "Otherwise."


@pytest.mark.parametrize(
    "change",
    [
        add_field,
        add_word,
        add_choice,
        allow_floats,
        soften,
        require_less,
        add_model,
        say_it_otherwise,
    ],
)
def test_widening_is_free(change: Change) -> None:
    assert narrowed("activity.call", change) == []


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
def test_schema_is_no_narrower_than_itself(row: Any) -> None:
    assert find_narrowings(event_schema(row), copy.deepcopy(event_schema(row))) == []
