"""Fields out of BSON, as `bson` decodes them; previews copied, as they are made of decoded emails."""

from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Int64, ObjectId, Regex
from bson.errors import InvalidBSON
from hypothesis import example, given
from hypothesis import strategies as st

from service.activities.threads import PREVIEW_LISTS, PREVIEW_VALUES, to_preview
from service.bson.fields import Fields
from tests.unit.test_encoding import values as any_values

NAMES = ("a", "b", "list", "to")

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.datetimes().map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
    | st.sampled_from([ObjectId(b"123456789012"), Regex("a"), Binary(b"x"), Int64(7)])
)
names = st.sampled_from([*NAMES, "c", "", "aa", "\N{SNOWMAN}", "from"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=15,
)
documents = st.dictionaries(names, values, max_size=8)


def nested(levels: int) -> Any:
    value: Any = [1]
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@given(documents)
@example({})
@example({"a": None, "b": [], "list": {}, "to": [{}, [], None]})
@example({"a": datetime(1, 1, 1), "b": datetime(9999, 12, 31, 23, 59, 59, 999_000)})
@example({"a": datetime(1969, 12, 31, 23, 59, 59, 999_000), "b": -(2**63), "c": 2**63 - 1})
@example({"c": ObjectId(b"123456789012"), "a": 1})
@example({"a": ObjectId(b"123456789012"), "b": "\0\N{GRINNING FACE}"})
@example({"a": nested(190)})
def test_fields_are_what_bson_decodes(document: dict[str, Any]) -> None:
    whole = bson.decode(bson.encode(document))

    fields = Fields(NAMES).decode(bson.encode(document))

    assert fields == {name: whole[name] for name in NAMES if name in whole}
    assert {name: type(one) for name, one in fields.items() if not isinstance(one, int)} == {
        name: type(whole[name]) for name, one in fields.items() if not isinstance(one, int)
    }


@given(documents)
@example({"a": {"from": 1, "b": 2}})
@example({"a": {"from": 1, "b": 2}, "c": Regex("a")})
@example({"a": {"from": Regex("a"), "b": 2}})
@example({"a": ["from"]})
@example({"a": "from"})
def test_of_a_document_in_it_one_field_may_be_meant(document: dict[str, Any]) -> None:
    whole = bson.decode(bson.encode(document))
    expected = {name: whole[name] for name in ("a", "b") if name in whole}
    if isinstance(expected.get("a"), dict):
        expected["a"] = {key: one for key, one in expected["a"].items() if key in ("from", "to")}

    assert Fields(["a.from", "a.to", "b"]).decode(bson.encode(document)) == expected


@given(documents, st.booleans())
@example({}, True)
@example({"to": None, "a": None, "list": 0}, True)
@example({"to": [1], "list": [2], "a": ObjectId(b"123456789012")}, True)
@example({"c": ObjectId(b"123456789012"), "a": nested(190)}, True)
def test_a_copy_has_all_fields_and_what_is_behind_them(
    document: dict[str, Any], flag: bool
) -> None:
    stored = bson.encode(document)
    whole = bson.decode(stored)
    filled: dict[str, Any] = {name: [] if name in ("list", "to") else None for name in NAMES}
    present = {name: one for name, one in whole.items() if name in NAMES and one is not None}

    copied = Fields(NAMES, lists=("list", "to")).copy(stored, bson.encode({"flag": flag}))

    assert copied == bson.encode(filled | present | {"flag": flag})


preview_names = st.sampled_from([*PREVIEW_VALUES, *PREVIEW_LISTS, "attachments", "body_html"])


@given(st.dictionaries(preview_names, any_values, max_size=12))
def test_a_copy_is_a_preview(email: dict[str, Any]) -> None:
    stored = bson.encode(email)
    preview = to_preview(bson.decode(stored))

    copied = Fields([*PREVIEW_VALUES, *PREVIEW_LISTS], lists=PREVIEW_LISTS).copy(
        stored, bson.encode({"has_attachments": preview["has_attachments"]})
    )

    assert copied == bson.encode(preview)


def test_of_equal_names_the_last_counts() -> None:
    one, other = bson.encode({"a": 1})[4:-1], bson.encode({"a": [2]})[4:-1]
    size = 5 + len(one) + len(other)
    twice = size.to_bytes(4, "little") + one + other + b"\0"

    assert Fields(["a"]).decode(twice) == {"a": [2]}
    assert Fields(["a"]).copy(twice, bson.encode({})) == bson.encode({"a": [2]})


def nested_bytes(levels: int, kind: bytes) -> bytes:
    """A document that holds a value of this kind that holds one, and so on: an encoder would not."""
    innermost = bson.encode({})
    sizes = [len(innermost) + 8 * level for level in range(levels, 0, -1)]
    heads = [size.to_bytes(4, "little") + kind + b"a\0" for size in sizes]
    return b"".join(heads) + innermost + b"\0" * levels


@pytest.mark.parametrize("kind", [b"\x03", b"\x04"])
@pytest.mark.parametrize("levels", [199, 200, 201, 300])
def test_nesting_is_followed_as_bson_follows_it(levels: int, kind: bytes) -> None:
    document = nested_bytes(levels, kind)

    assert Fields(["a"]).decode(document) == bson.decode(document)
    assert Fields(["a.a"]).decode(document) == bson.decode(document)
    assert Fields(["a"]).copy(document, bson.encode({})) == document


@pytest.mark.parametrize("kind", [b"\x03", b"\x04"])
def test_nesting_without_end_is_refused(kind: bytes) -> None:
    with pytest.raises(InvalidBSON):
        Fields(["a"]).decode(nested_bytes(200_000, kind))


@pytest.mark.parametrize("more", [b"", b"\0", b"\5\0\0\0", b"\5\0\0\0\0\0", b"\6\0\0\0\0"])
def test_what_is_behind_a_copy_is_a_document(more: bytes) -> None:
    for document in ({"a": 1}, {"a": Regex("a")}):
        with pytest.raises(ValueError, match=r"document|early"):
            Fields(["a"]).copy(bson.encode(document), more)


TEXT = bson.encode({"a": "text"})


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        TEXT[:-1],
        TEXT + b"\0",
        TEXT.replace(b"text", b"\xfftex"),
        TEXT.replace(b"\x05", b"\x7f"),
        bson.encode({"a": {"b": 1}}).replace(b"\x10", b"\x7e"),
        bson.encode({"a": 2**62}).replace(b"\x12", b"\x09"),
    ],
)
def test_what_bson_refuses_is_refused(junk: bytes) -> None:
    with pytest.raises(InvalidBSON):
        Fields(["a"]).decode(junk)


@given(st.binary(max_size=40))
def test_nothing_else_is_refused(junk: bytes) -> None:
    try:
        Fields(["a"]).decode(junk)
    except InvalidBSON:
        with pytest.raises(InvalidBSON):
            bson.decode(junk)


def test_there_is_room_for_32_fields() -> None:
    many = [f"field_{number}" for number in range(33)]

    assert Fields(many[:32]).decode(bson.encode(dict.fromkeys(many))) == dict.fromkeys(many[:32])
    with pytest.raises(ValueError, match="more than 32"):
        Fields(many)


@pytest.mark.parametrize("size", [1, 62, 63])
def test_names_have_less_than_64_bytes(size: int) -> None:
    name, other = "x" * size, "x" * (size - 1) + "y"
    document = {other: 1, "x" * 64: 2, name: 3, "x" * 200: 4, "é" * 32: 5}

    assert Fields([name]).decode(bson.encode(document)) == {name: 3}
    assert Fields([other, name]).decode(bson.encode(document)) == {other: 1, name: 3}
    for long in ("x" * 64, "é" * 32):
        with pytest.raises(ValueError, match="64 bytes"):
            Fields([long])
