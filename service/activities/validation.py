"""A validator that first looks whether a value surely fits.

What producers send fits nearly always. To see that takes a compiled look (`shapes.pyx`); what it
does not pass, `pydantic_core` judges and names what is wrong. Values are what JSON has within the
limits of contract 1.3, and `datetime`s.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic_core import SchemaValidator

from service.activities.shapes import (
    AnyOf,
    Characters,
    Exactly,
    Fields,
    Items,
    Nothing,
    Nullable,
    Shape,
    Text,
    Values,
    Word,
)

# What a schema may say without another value fitting: a `datetime` keeps its microseconds.
_NEUTRAL = frozenset({"fail_fast", "metadata", "microseconds_precision", "ref", "type"})
_FIELD_KEYS = frozenset({"metadata", "required", "schema", "type"})
# Characters and ranges that mean the same to Python and to `pydantic_core`.
_REPEATED = re.compile(r"\^(\[[A-Za-z0-9_.:@-]+\])\{1,([0-9]+)\}\$")
_ASCII = [chr(code) for code in range(128)]

Schema = Mapping[str, Any]
Definitions = dict[str, Shape]


class Validator:
    """A schema of `pydantic_core`, in strict mode, for what came as JSON."""

    def __init__(self, schema: Any) -> None:
        self._shape = to_shape(schema)
        self._validator = SchemaValidator(schema)

    def validate(self, value: Any) -> None:
        """Raises `ValidationError`."""
        if not self._shape.fits(value):
            self._validator.validate_python(value, strict=True)


def to_shape(schema: Schema) -> Shape:
    """What surely fits a core schema; nothing, where it says more than is known here."""
    return _to_shape(schema, {})


def _to_shape(schema: Schema, known: Definitions) -> Shape:
    said = (schema["type"], *sorted(schema.keys() - _NEUTRAL))
    reading = _READINGS.get(said)
    return reading(schema, known) if reading else Nothing()


def _to_fields(schema: Schema, known: Definitions) -> Shape:
    fields = schema["fields"]
    if any(field.keys() - _FIELD_KEYS for field in fields.values()):
        return Nothing()
    return Fields(
        {name: _to_shape(field["schema"], known) for name, field in fields.items()},
        required=[name for name, field in fields.items() if field.get("required", True)],
    )


def _to_values(schema: Schema, known: Definitions) -> Shape:
    if schema["keys_schema"] != {"type": "str"}:
        return Nothing()
    return Values(_to_shape(schema["values_schema"], known))


def _to_defined(schema: Schema, known: Definitions) -> Shape:
    for part in schema["definitions"]:
        known[part["ref"]] = _to_shape(part, known)
    return _to_shape(schema["schema"], known)


def _to_characters(schema: Schema, _: Definitions) -> Shape:
    match = _REPEATED.fullmatch(schema["pattern"])
    if match is None:
        return Nothing()
    one, at_most = match.groups()
    return Characters([char for char in _ASCII if re.fullmatch(one, char)], int(at_most))


def _to_checked_text(schema: Schema, _: Definitions) -> Shape:
    function = schema["function"]
    if schema["schema"] != {"type": "str"} or function["type"] != "no-info":
        return Nothing()
    return Text(_succeeds(function["function"]))


def _succeeds(function: Callable[[str], Any]) -> Callable[[str], bool]:
    def succeeds(text: str) -> bool:
        try:
            function(text)
        except ValueError:
            return False
        return True

    return succeeds


# By type and what else a schema says.
_READINGS: dict[tuple[str, ...], Callable[[Schema, Definitions], Shape]] = {
    ("any",): lambda _, __: Shape(),
    ("bool",): lambda _, __: Exactly(bool),
    ("datetime",): lambda _, __: Exactly(datetime),
    ("definition-ref", "schema_ref"): lambda schema, known: known.get(
        schema["schema_ref"], Nothing()
    ),
    ("definitions", "definitions", "schema"): _to_defined,
    ("dict", "keys_schema", "values_schema"): _to_values,
    ("float",): lambda _, __: AnyOf([Exactly(float), Exactly(int)]),
    ("function-after", "function", "schema"): _to_checked_text,
    ("int",): lambda _, __: Exactly(int),
    ("list", "items_schema"): lambda schema, known: Items(_to_shape(schema["items_schema"], known)),
    ("literal", "expected"): lambda schema, _: Word(schema["expected"]),
    ("nullable", "schema"): lambda schema, known: Nullable(_to_shape(schema["schema"], known)),
    ("str",): lambda _, __: Exactly(str),
    ("str", "pattern"): _to_characters,
    ("typed-dict", "fields"): _to_fields,
    ("union", "choices"): lambda schema, known: AnyOf(
        [_to_shape(choice, known) for choice in schema["choices"]]
    ),
}
