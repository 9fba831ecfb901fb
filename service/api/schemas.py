"""The schemas of activities, as the API answers them, from the pydantic models: one named schema a
type, told apart by `_type`.

The store keeps what producers send: only the hard fields of contract 1.3 are sure to be of their
type, and `_fields` chooses keys. Neither can be said in a type without taking its meaning: they are
told in the descriptions, and the sure fields by `x-always-of-type`.
"""

from typing import Any

from pydantic.json_schema import models_json_schema

from service.activities.base import HARD, Activity, datetime_fields, marked_fields
from service.activities.descriptions import description_of
from service.activities.types import CUSTOM_ACTIVITY, EMAIL, TYPES
from service.api.examples import example_rows

REFERENCE = "#/components/schemas/{model}"

_Schema = dict[str, Any]

_HAS_ATTACHMENTS: _Schema = {
    "type": "boolean",
    "description": "Whether any file goes with it; only with `thread_emails=true`.",
}
_STRIPPED = (
    " With `thread_emails=true` it has no bodies, but the base keys and those of its preview."
)
_OWN_FIELDS = " They may hold anything."


def activity_schemas() -> dict[str, _Schema]:
    """Every type and what it is made of, by name, and `Activity`, which is any of them."""
    _, generated = models_json_schema(
        [(row.model, "serialization") for row in TYPES], ref_template=REFERENCE
    )
    schemas = {name: _named(name, schema) for name, schema in generated["$defs"].items()}
    for row in TYPES:
        schemas[row.name] |= {
            "x-always-of-type": sorted(_sure_fields(row.model)),
            "examples": [example_rows()[row.name]],
        }
    schemas[EMAIL] = _with_stripped_form(schemas[EMAIL])
    schemas[CUSTOM_ACTIVITY] |= {
        "description": schemas[CUSTOM_ACTIVITY]["description"] + _OWN_FIELDS,
        "additionalProperties": True,
    }
    any_of_them = "Any activity, or a thread of emails: `_type` says which."
    return {**schemas, "Activity": {"description": any_of_them, **one_of(*_names())}}


def one_of(*names: str) -> _Schema:
    """Any of these types, told apart by `_type`."""
    references = {name: REFERENCE.format(model=name) for name in names}
    return {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "_type", "mapping": references},
    }


def _names() -> list[str]:
    return [row.name for row in TYPES]


def _sure_fields(model: type[Activity]) -> frozenset[str]:
    """What an activity without is a dead letter, and the `_type`, by which it was told."""
    return marked_fields(model, HARD) | datetime_fields(model) | {"_type"}


def _with_stripped_form(email: _Schema) -> _Schema:
    """The schema that a stripped email has too, since `_type` cannot tell the two apart."""
    return email | {
        "description": email["description"] + _STRIPPED,
        "required": [name for name in email["required"] if name != "thread_id"],
        "properties": email["properties"] | {"has_attachments": _HAS_ATTACHMENTS},
    }


def _named(model: str, schema: _Schema) -> _Schema:
    properties = {
        name: _described(_plain(field), description_of(model, name))
        for name, field in schema["properties"].items()
    }
    # Any object may hold keys that are not known yet: said once, in the document's description.
    kept = {
        name: value
        for name, value in schema.items()
        if name not in ("title", "additionalProperties")
    }
    return kept | {"properties": properties}


def _described(field: _Schema, text: str | None) -> _Schema:
    if "description" in field or text is None:
        return field
    return {"description": text, **field}


def _plain(field: _Schema) -> _Schema:
    """Without its title, which is only its name again, and with null as one of its types."""
    plain = {name: value for name, value in field.items() if name != "title"}
    choices = [choice for choice in plain.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1 or "$ref" in choices[0]:
        return plain
    del plain["anyOf"]
    return {**plain, **choices[0], "type": [choices[0]["type"], "null"]}
