"""What a field takes, in words: for whoever has sent something else, and for the event reference."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from service.activities.base import ID_PATTERN

_Schema = Mapping[str, Any]

_WORDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "null": "null",
}
_MANY = {
    "a string": "strings",
    "a whole number": "whole numbers",
    "a number": "numbers",
    "an object": "objects",
    "an id": "ids",
}


@cache
def expectations(model: type[BaseModel]) -> Mapping[str, str]:
    """What each known field of a model takes, as in `a string or null`."""
    return {
        name: describe(field) for name, field in model.model_json_schema()["properties"].items()
    }


def describe(schema: _Schema) -> str:
    """What a schema of the models takes."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe(choice) for choice in schema["anyOf"]))
    if "$ref" in schema:
        return "an object"
    if "const" in schema:
        return str(schema["const"])
    for key, more in (("enum", ""), ("x-extensible-enum", " (others may come)")):
        if key in schema:
            return f"one of {', '.join(map(str, schema[key]))}{more}"
    if schema.get("format") == "date-time":
        return "a date-time"
    if schema.get("pattern") == ID_PATTERN:
        return "an id"
    if schema.get("type") == "array":
        one = describe(schema.get("items", {}))
        return f"a list of {_MANY.get(one, 'values')}"
    return _WORDS.get(str(schema.get("type")), "anything")
