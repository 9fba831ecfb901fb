"""Activities held against their models (contract 1.3).

The models' schemas are turned into ones that only look: objects stay plain dicts, nothing is built
or filled, what is absent is not missed, unknown keys are passed over.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ValidationError

from service.activities.base import Activity
from service.activities.types import TYPES, ActivityType
from service.activities.validation import Validator


class InvalidField(ValueError):
    """A hard field of the wrong type."""


def check_fields(type_: ActivityType, activity: Mapping[str, Any]) -> tuple[str, ...]:
    """The known fields that deviate from their type, each once.

    `activity` is filled, its known date-times are `datetime`s. Raises `InvalidField` where one of
    them is a hard field.
    """
    try:
        _VALIDATORS[type_.name].validate(activity)
    except ValidationError as error:
        return _to_deviations(type_, error)
    return ()


def _to_deviations(type_: ActivityType, error: ValidationError) -> tuple[str, ...]:
    fields: dict[str, None] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        field, *inside = fault["loc"]
        if field in type_.hard_fields and not any(isinstance(step, str) for step in inside):
            place = ".".join(map(str, fault["loc"]))
            raise InvalidField(f"{place}: {fault['msg']}") from error
        fields[str(field)] = None
    return tuple(fields)


def to_looking_schema(model: type[Activity]) -> Any:
    """The model's core schema as one that only looks."""
    return _to_check(model.__pydantic_core_schema__)


def _to_check(schema: Any) -> Any:
    """A core schema that accepts what `schema` accepts, absent fields too, and builds nothing."""
    if isinstance(schema, list):
        return [_to_check(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    match schema.get("type"):
        case "default":
            return _to_check(schema["schema"])
        case "model":
            return {**_to_check(schema["schema"]), "ref": schema["ref"]}
        case "model-fields":
            return {"type": "typed-dict", "fields": _to_check_fields(schema["fields"])}
    check = {key: _to_check(part) for key, part in schema.items() if key != "metadata"}
    if schema.get("type") in ("list", "dict"):
        check["fail_fast"] = True  # one fault says enough; a long list could have a million
    return check


def _to_check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field.get("validation_alias", name): {
            "type": "typed-dict-field",
            "schema": _to_check(field["schema"]),
            "required": False,
        }
        for name, field in fields.items()
    }


_VALIDATORS = {row.name: Validator(to_looking_schema(row.model)) for row in TYPES}
