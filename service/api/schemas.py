"""The schemas of activities, as the API answers them, from the pydantic models.

The store keeps what producers send: only the hard fields of contract 1.3 are sure to be of their
type. The schemas say so: every other known field may also be a `Deviation`.
"""

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from service.activities.base import HARD, Activity, datetime_fields, marked_fields
from service.activities.emails import EmailPreview
from service.activities.types import EMAIL, TYPES

if TYPE_CHECKING:
    from pydantic import BaseModel

REFERENCE = "#/components/schemas/{model}"

_Schema = dict[str, Any]

DEVIATION: _Schema = {
    "description": "A known field whose value is not of its type: producers' schemas grow without"
    " asking, so it is answered as it came."
}
CHOSEN_FIELDS: _Schema = {
    "type": "object",
    "description": "A row under `_fields`: the keys asked for, where it has them.",
}
STRIPPED_EMAIL: _Schema = {
    "description": "An Email under `thread_emails=true`: the base keys and those of its preview.",
    "allOf": [
        {"$ref": REFERENCE.format(model="Activity")},
        {"$ref": REFERENCE.format(model="EmailPreview")},
        {"properties": {"_type": {"const": EMAIL}}},
    ],
}


def activity_schemas() -> dict[str, _Schema]:
    """Every model and what it is made of, by name."""
    activities: list[type[Activity]] = [Activity, *(row.model for row in TYPES)]
    models: list[type[BaseModel]] = [EmailPreview, *activities]
    _, generated = models_json_schema(
        [(model, "serialization") for model in models], ref_template=REFERENCE
    )
    sure = {model.__name__: _sure_fields(model) for model in activities}
    schemas = {
        name: _loosened(schema, sure.get(name, frozenset()))
        for name, schema in generated["$defs"].items()
    }
    return {
        **schemas,
        "StrippedEmail": STRIPPED_EMAIL,
        "ChosenFields": CHOSEN_FIELDS,
        "Deviation": DEVIATION,
    }


def _sure_fields(model: type[Activity]) -> frozenset[str]:
    """What an activity without is a dead letter, and the `_type`, by which it was told."""
    return marked_fields(model, HARD) | datetime_fields(model) | {"_type"}


def _loosened(schema: _Schema, sure: frozenset[str]) -> _Schema:
    properties = {
        name: _untitled(field) if name in sure else _or_deviation(_untitled(field))
        for name, field in schema["properties"].items()
    }
    return {**_untitled(schema), "properties": properties}


def _or_deviation(field: _Schema) -> _Schema:
    """`field`, or anything: its description stays where it is read first."""
    shown = {name: value for name, value in field.items() if name == "description"}
    typed = {name: value for name, value in field.items() if name != "description"}
    choices = typed["anyOf"] if set(typed) == {"anyOf"} else [typed]
    return {**shown, "anyOf": [*choices, {"$ref": REFERENCE.format(model="Deviation")}]}


def _untitled(schema: _Schema) -> _Schema:
    """Titles are only the names of fields again."""
    return {name: value for name, value in schema.items() if name != "title"}
