"""JSON Schemas of events, from the models (contract 1.7).

What a schema takes is applied, and what is rejected it does not take, but for `EXCEPTIONS`. A known
field that is not hard may be of any type (contract 1.3): its schema says which one is meant, and
takes the others as a `Deviation`.
"""

from collections.abc import Mapping
from typing import Any

from service.activities.base import HARD, ID_PATTERN, datetime_fields, marked_fields
from service.activities.examples import deletion, example_event
from service.activities.types import BY_NAME, BY_OBJECT_TYPE, TYPES, ActivityType

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{model}"
EXCEPTIONS = (
    "an `id` or `organization_id` in `data` that is another than the event's",
    "a record, an email's preview or a document that is too large",
    "an integer beyond signed 64 bits, a number that overflows a double",
    "nesting deeper than 64 levels, a NUL in a nested key, an object with a `$ref` and an `$id`",
    "a day that its month does not have, a time that is not within the years 1 to 9999 in UTC",
)
DEVIATION: Schema = {
    "description": "Of another type than is meant: kept as it came, and counted.",
}
_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
DATETIME_PATTERN = f"^{_DATE}(?:T{_TIME}{_ZONE}?)?$"
_ID_OR_EMPTY = f"^(?:{ID_PATTERN.strip('^$')})?$"
_KEYS = r"^(?!\$|_id$|_meta$)[^\u0000]*$"

_ID: Schema = {"type": "string", "pattern": ID_PATTERN}
_ID_OR_NULL: Schema = {"type": ["string", "null"], "pattern": _ID_OR_EMPTY}
_DATETIME: Schema = {"type": "string", "pattern": DATETIME_PATTERN}
_DATETIME_OR_NULL: Schema = {"type": ["string", "null"], "pattern": DATETIME_PATTERN}
_DATETIME_WORDS = (
    "`YYYY-MM-DD`, or `YYYY-MM-DDThh:mm:ss` with up to nine decimals and `Z`, `+hh:mm`, `-hh:mm` or"
    " nothing, which is UTC."
)
# How fields are filled is contract 1.3.
_FILLED: dict[str, tuple[Schema, str]] = {
    "id": (_ID_OR_NULL, "The event's `object_id`, which fills it."),
    "organization_id": (_ID_OR_NULL, "The event's, which fills it."),
    "users": (
        {"type": ["array", "null"], "items": {"type": "string"}},
        "Ids of the users who take part; `[]` where it is absent.",
    ),
    "date_created": (_DATETIME, f"When it was created or synchronised. {_DATETIME_WORDS}"),
    "date_updated": (_DATETIME_OR_NULL, "The event's `date_updated` where it is absent."),
    "activity_at": (_DATETIME_OR_NULL, "When it happened; `date_created` where it is absent."),
    "lead_id": (_ID_OR_NULL, "Whose timeline it is on; the event's `lead_id` where it is absent."),
}
_ENVELOPE: dict[str, Schema] = {
    "id": _ID | {"description": "The event's own id."},
    "object_type": {},
    "object_id": _ID | {"description": "The activity's id."},
    "action": {
        "type": "string",
        "description": "`deleted` removes the activity; any other word sets the whole of it to"
        " `data`.",
        "examples": ["created", "updated", "completed", "sent", "deleted"],
    },
    "date_created": _DATETIME | {"description": f"When the event happened. {_DATETIME_WORDS}"},
    "date_updated": _DATETIME_OR_NULL
    | {"description": "When it was last changed. Of two events the later one counts."},
    "organization_id": _ID | {"description": "Whose activity it is."},
    "lead_id": _ID_OR_NULL | {"description": "Fills a missing `data.lead_id`."},
    "data": {"description": "The full activity after the change. Of a delete it is not looked at."},
}
_REQUIRED = ["id", "object_type", "object_id", "action", "date_created", "organization_id"]


def event_schema(type_: ActivityType) -> Schema:
    """The schema of the events of one type."""
    definitions = _definitions(type_)
    return {
        "$schema": DIALECT,
        "$id": f"urn:activity-service:event:{type_.object_type}",
        **_event(type_),
        "$defs": definitions,
    }


def events_schema() -> Schema:
    """The schema of the events of all types."""
    definitions: Schema = {}
    for row in TYPES:
        definitions |= _definitions(row) | {row.object_type: _event(row)}
    return {
        "$schema": DIALECT,
        "$id": "urn:activity-service:event",
        "title": "Activity event",
        "anyOf": [{"$ref": REFERENCE.format(model=row.object_type)} for row in TYPES],
        "$defs": definitions,
    }


def find_type(word: str) -> ActivityType | None:
    """The type of this `object_type` or `_type`."""
    return BY_OBJECT_TYPE.get(word) or BY_NAME.get(word)


def _event(type_: ActivityType) -> Schema:
    data = {"$ref": REFERENCE.format(model=type_.name)}
    examples = [example_event(type_.name)]
    if type_.name == "Note":
        examples.append(deletion())
    return {
        "title": type_.object_type,
        "description": _describe(type_),
        "type": "object",
        "required": _REQUIRED,
        "properties": _ENVELOPE | {"object_type": {"const": type_.object_type}},
        "anyOf": [
            {"title": "set", "required": ["data"], "properties": {"data": data}},
            {"title": "delete", "properties": {"action": {"const": "deleted"}}},
        ],
        "examples": examples,
    }


def _describe(type_: ActivityType) -> str:
    exceptions = "; ".join(EXCEPTIONS)
    return (
        f"{type_.model.__doc__} What this schema takes is applied, but for: {exceptions}."
        " What it does not take is a dead letter."
    )


def _definitions(type_: ActivityType) -> Schema:
    """What `data` is, and what it is made of."""
    generated = type_.model.model_json_schema(ref_template=REFERENCE)
    parts = generated.pop("$defs", {})
    definitions = {
        name: _data(BY_NAME[name], part) if name in BY_NAME else _loosened(part, frozenset())
        for name, part in parts.items()
    }
    return {
        **definitions,
        type_.name: _data(type_, generated),
        "Deviation": DEVIATION,
    }


def _data(type_: ActivityType, generated: Schema) -> Schema:
    hard = marked_fields(type_.model, HARD) | datetime_fields(type_.model)
    loosened = _loosened(generated, hard)
    properties = loosened["properties"]
    kind = {"enum": [type_.name, None], "description": "The event's type, which fills it."}
    for name in type_.id_fields:
        properties[name] = _described(_ID_OR_NULL, properties[name])
    for name in type_.datetime_fields:
        properties[name] = _described(_DATETIME_OR_NULL, properties[name])
    for name, (schema, words) in _FILLED.items():
        properties[name] = schema | {"description": words}
    return {
        **loosened,
        "required": ["date_created"],
        "properties": properties | {"_type": kind},
        "propertyNames": {"pattern": _KEYS},
    }


def _described(schema: Schema, field: Mapping[str, Any]) -> Schema:
    return schema | {key: value for key, value in field.items() if key == "description"}


def _loosened(schema: Schema, hard: frozenset[str]) -> Schema:
    properties = {
        name: _plain(field) if name in hard else _or_deviation(_plain(field))
        for name, field in schema["properties"].items()
    }
    return {**_plain(schema), "properties": properties}


def _plain(schema: Schema) -> Schema:
    """Titles are only the names of fields again, and nothing is required but what 1.3 says."""
    noise = ("title", "required", "additionalProperties") if "properties" in schema else ("title",)
    return {name: value for name, value in schema.items() if name not in noise}


def _or_deviation(field: Schema) -> Schema:
    """`field`, or anything: its description stays where it is read first."""
    shown = {name: value for name, value in field.items() if name == "description"}
    typed = {name: value for name, value in field.items() if name != "description"}
    choices = typed["anyOf"] if set(typed) == {"anyOf"} else [typed]
    return {**shown, "anyOf": [*choices, {"$ref": REFERENCE.format(model="Deviation")}]}
