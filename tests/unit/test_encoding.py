"""BSON as `bson.encode` makes it."""

import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import bson
import pytest
from bson import Binary, Int64, ObjectId, Regex
from bson.errors import BSONError, InvalidDocument
from hypothesis import example, given
from hypothesis import strategies as st

from service.bson.encoding import EmbeddedDocument, encode

LEVELS = 100


class Word(StrEnum):
    ONE = "one"
    ID = "_id"


class Named(dict[str, Any]):
    pass


names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([-(2**31) - 1, -(2**31), 2**31 - 1, 2**31])
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=40)
    | st.datetimes()
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=-7))))
    | st.binary(max_size=20)
    | st.builds(ObjectId, st.binary(min_size=12, max_size=12))
    | st.sampled_from([Word.ONE, Int64(7), Regex("a"), Binary(b"x"), Named(a=1), ("a", 1)])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(names, inner, max_size=4),
    max_leaves=30,
)
documents = st.dictionaries(names | st.just("_id"), values, max_size=8)


def nested(levels: int, *, in_lists: bool = False) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = [value] if in_lists else {"a": value}
    return {"a": value}


@given(documents)
@example({})
@example({"b": 1, "_id": 2, "a": {"b": 1, "_id": 2}})
@example({"_i": 1, "_ix": 2, "_idx": 3})
@example({Word.ONE: 1, Word.ID: 2, "a": {Word.ID: 3}})
@example({"": "", "a\N{SNOWMAN}": "\N{GRINNING FACE}\0a"})
@example({"a": [{}, [], "", None] * 30})
@example({"a": datetime(1, 1, 1), "b": datetime.max, "c": datetime(1969, 12, 31, 23, 59, 59, 999)})
@example({"a": datetime(2026, 1, 1, tzinfo=UTC)})
@example({"a": "x" * 100_000})
@example({"a": "x" * 4_000, "b": list(range(2_000)), "c": "x" * 10_000})
def test_the_bytes_are_those_of_the_driver(document: dict[str, Any]) -> None:
    assert encode(document) == bson.encode(document)


@pytest.mark.parametrize("inner", [{}, {"a": 1}, nested(LEVELS + 1)])
def test_what_is_encoded_already_stands_as_it_is(inner: dict[str, Any]) -> None:
    encoded = EmbeddedDocument(bson.encode(inner))
    assert encode({"a": encoded}) == bson.encode({"a": inner})
    assert encode({"a": [encoded, {"b": encoded}]}) == bson.encode({"a": [inner, {"b": inner}]})


@pytest.mark.parametrize("levels", [LEVELS - 2, LEVELS - 1, LEVELS, LEVELS + 1])
@pytest.mark.parametrize("in_lists", [False, True])
def test_nesting_of_any_depth_is_encoded(levels: int, in_lists: bool) -> None:
    document = nested(levels, in_lists=in_lists)
    assert encode(document) == bson.encode(document)


@pytest.mark.parametrize(
    "document",
    [
        {"a": 2**63},
        {"a": [-(2**63) - 1]},
        {"a\0": 1},
        {"a": {"b\0c": 1}},
        {"a": {1: 1}},
        {"a": object()},
        {"a": [{1, 2}]},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": {"b": "\udfff"}},
        pytest.param(nested(100_000), id="deep"),
        pytest.param(nested(100_000, in_lists=True), id="deep in lists"),
    ],
)
def test_what_cannot_be_bson_is_refused_alike(document: dict[Any, Any]) -> None:
    with pytest.raises((BSONError, OverflowError, ValueError, RecursionError)) as ours:
        encode(document)
    with pytest.raises(ours.type):
        bson.encode(document)


def test_what_was_refused_leaves_nothing_behind() -> None:
    tracemalloc.start()
    try:
        for _ in range(100):
            with pytest.raises(InvalidDocument):
                encode({"a": "x" * 100_000, "b": object()})
            assert encode({"a": 1}) == bson.encode({"a": 1})
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("document", [None, [], "a", Named(a=1)])
def test_a_document_is_a_plain_dict(document: Any) -> None:
    with pytest.raises(TypeError):
        encode(document)
