"""What surely fits a schema, held against the validator of `pydantic_core` itself."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import SchemaValidator, ValidationError, core_schema

from service.activities.base import ID_PATTERN
from service.activities.checks import to_looking_schema
from service.activities.types import TYPES, ActivityType
from service.activities.validation import Validator, to_shape
from tests.factories import activity, json_values

Schema = Any


def _even(text: str) -> str:
    if len(text) % 2:
        raise ValueError("an odd text")
    return text


def _refuse(text: str, _: core_schema.ValidationInfo[Any]) -> str:
    raise ValueError(text)


def _object(fields: dict[str, tuple[Schema, bool]]) -> Schema:
    return core_schema.typed_dict_schema(
        {
            name: core_schema.typed_dict_field(schema, required=required)
            for name, (schema, required) in fields.items()
        }
    )


names = st.sampled_from(["a", "b", "c"])
leaves: st.SearchStrategy[Schema] = st.sampled_from(
    [
        core_schema.any_schema(),
        core_schema.bool_schema(),
        core_schema.datetime_schema(microseconds_precision="truncate"),
        core_schema.float_schema(),
        core_schema.int_schema(),
        core_schema.literal_schema(["a", "b"]),
        core_schema.str_schema(),
        core_schema.str_schema(pattern=ID_PATTERN),
        core_schema.no_info_after_validator_function(_even, core_schema.str_schema()),
        # Of these nothing surely fits.
        core_schema.str_schema(max_length=1),
        core_schema.str_schema(pattern="a"),
        core_schema.str_schema(pattern="^[^a]{1,2}$"),
        core_schema.str_schema(pattern="^[a-z&&x]{1,5}$"),
        core_schema.int_schema(ge=1),
        core_schema.bytes_schema(),
        core_schema.dict_schema(core_schema.str_schema(max_length=1), core_schema.any_schema()),
        core_schema.no_info_after_validator_function(_even, core_schema.str_schema(max_length=2)),
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        inner.map(core_schema.nullable_schema)
        | st.lists(inner, min_size=1, max_size=3).map(core_schema.union_schema)
        | inner.map(lambda schema: core_schema.list_schema(schema, fail_fast=True))
        | inner.map(lambda schema: core_schema.dict_schema(core_schema.str_schema(), schema))
        | st.dictionaries(names, st.tuples(inner, st.booleans()), max_size=3).map(_object)
    ),
    max_leaves=6,
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "aa", "b", "id_1", "a b", "a\n", "é", "\0", "x" * 128, "x" * 129])
    | st.sampled_from([datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), b"a", ("a",)])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def fits(schema: Schema, value: Any) -> bool:
    try:
        SchemaValidator(schema).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@given(schemas, values)
@example(core_schema.int_schema(), True)
@example(core_schema.bool_schema(), 1)
@example(core_schema.str_schema(pattern=ID_PATTERN), "a\n")
@example(core_schema.literal_schema([1]), 1)
@example(core_schema.literal_schema(["a"]), "b")
@example(core_schema.nullable_schema(core_schema.int_schema()), "a")
@example(core_schema.union_schema([core_schema.int_schema(), core_schema.str_schema()]), None)
@example(core_schema.list_schema(core_schema.int_schema()), [1, "1"])
@example(core_schema.str_schema(max_length=1), "aa")
@example(core_schema.str_schema(pattern="a"), "b")
@example(core_schema.str_schema(pattern="^[a-z&&x]{1,5}$"), "abc")
@example(core_schema.int_schema(ge=1), 0)
@example(core_schema.no_info_after_validator_function(_even, core_schema.str_schema()), "a")
@example(
    core_schema.no_info_after_validator_function(_even, core_schema.str_schema(max_length=2)),
    "aaaa",
)
@example(core_schema.with_info_after_validator_function(_refuse, core_schema.str_schema()), "a")
@example(core_schema.dict_schema(core_schema.str_schema(), core_schema.int_schema()), {"a": "1"})
@example(
    core_schema.dict_schema(core_schema.str_schema(max_length=1), core_schema.any_schema()),
    {"aa": 1},
)
@example(_object({"a": (core_schema.any_schema(), True)}), {"b": 1})
@example(_object({"a": (core_schema.int_schema(), False)}), {"a": "1"})
@example(
    core_schema.typed_dict_schema({"a": core_schema.typed_dict_field(core_schema.any_schema())}),
    {},
)
@example(
    core_schema.typed_dict_schema(
        {
            "a": core_schema.typed_dict_field(
                core_schema.int_schema(), required=False, validation_alias="b"
            )
        }
    ),
    {"b": "x"},
)
def test_what_surely_fits_does_fit(schema: Schema, value: Any) -> None:
    assert not to_shape(schema).fits(value) or fits(schema, value)


@given(schemas, values)
def test_a_validator_decides_as_that_of_pydantic(schema: Schema, value: Any) -> None:
    try:
        Validator(schema).validate(value)
    except ValidationError:
        assert not fits(schema, value)
    else:
        assert fits(schema, value)


@pytest.mark.parametrize("text", [chr(code) for code in range(256)] + ["x" * 128, "x" * 129, ""])
def test_an_id_surely_fits_its_pattern(text: str) -> None:
    schema = core_schema.str_schema(pattern=ID_PATTERN)

    assert to_shape(schema).fits(text) == fits(schema, text)


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
def test_an_activity_as_it_should_be_surely_fits(row: ActivityType) -> None:
    """Or the slower validator would look at it, too."""
    shape = to_shape(to_looking_schema(row.model))
    rng = random.Random(1)
    for _ in range(50):
        filled = activity(row.name, rng=rng)
        filled |= dict.fromkeys(row.datetime_fields & filled.keys(), datetime(2026, 1, 1))
        assert shape.fits(filled)


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)
@given(data=st.data())
def test_an_activity_with_another_value_fits_only_if_it_does(
    row: ActivityType, data: st.DataObject
) -> None:
    schema = to_looking_schema(row.model)
    filled = activity(row.name, rng=random.Random(1))
    filled |= dict.fromkeys(row.datetime_fields & filled.keys(), datetime(2026, 1, 1))
    place: Any = filled
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]))
        inner = place[key]
        if not inner or not isinstance(inner, dict | list) or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(json_values)

    assert not to_shape(schema).fits(filled) or fits(schema, filled)
