"""Activities held against their models (contract 1.3).

The models' schemas are turned into ones that only look: objects stay plain dicts, nothing is built
or filled, what is absent is not missed, unknown keys are passed over.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import ValidationError

from service.activities.base import Activity
from service.activities.expectations import expectations
from service.activities.types import TYPES, ActivityType
from service.activities.validation import Validator
from service.errors import Path


class Deviation(NamedTuple):
    """A place in an activity whose value is not of its type; `is_hard` where that refuses it."""

    path: Path
    reason: str
    is_hard: bool


def find_deviations(type_: ActivityType, activity: Mapping[str, Any]) -> tuple[Deviation, ...]:
    """Where known fields deviate from their types.

    `activity` is filled, its known date-times are `datetime`s.
    """
    try:
        _VALIDATORS[type_.name].validate(activity)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found = [_to_deviation(type_, activity, fault["loc"], fault["msg"]) for fault in faults]
        return tuple({one.path: one for one in found}.values())
    return ()


def _to_deviation(
    type_: ActivityType, activity: Mapping[str, Any], location: Path, text: str
) -> Deviation:
    path = _way_inside(activity, location)
    field, *inside = path
    reason = text.removeprefix("Input should be ")
    if not inside:
        reason = expectations(type_.model).get(str(field), reason)
    is_hard = field in type_.hard_fields and not any(isinstance(step, str) for step in inside)
    return Deviation(path, reason, is_hard)


def _way_inside(value: Any, location: Path) -> Path:
    """The location as far as it leads: its end may be a choice of a union, which is no place."""
    for count, step in enumerate(location):
        try:
            value = value[step]
        except (LookupError, TypeError):
            return location[:count]
    return location


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
