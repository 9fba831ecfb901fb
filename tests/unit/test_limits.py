"""What an activity may not hold although it is JSON (contract 1.3)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.decoding import decode_json
from service.activities.limits import find_excesses, find_reserved_keys
from tests.examples import examples

LEAST, MOST = -(2**63), 2**63 - 1


def lists(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "data",
    [
        {"a": MOST, "b": LEAST, "c": [MOST, {"d": LEAST}]},
        {"a": 1.7976931348623157e308, "b": -5e-324, "c": True},
        {"a": lists(63)},
        {"a": [{"b": lists(61)}]},
        {"a": "text \0 with NUL", "b": ["\0"]},
        {"": 1, "a.b": {"$set": {"x.$y": 1}}, "Price in $. (net)": 2},
        {"a": {"_id": 1, "_meta": 2}},
        {"a": {"$ref": 1, "$id": 2}, "b": {"$ref": "c"}, "c": {"$id": 1, "ref": "c"}},
        {"a": {"$ref": None, "$id": "x"}},
    ],
)
def test_what_a_document_can_hold_passes(data: dict[str, Any]) -> None:
    assert [*find_reserved_keys(data), *find_excesses(data)] == []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"a": MOST + 1}, "64 bits"),
        ({"a": LEAST - 1}, "64 bits"),
        ({"a": [[{"b": [10**400]}]]}, "64 bits"),
        ({"a": float("inf")}, "overflows"),
        ({"a": [{"b": float("-inf")}]}, "overflows"),
        ({"a": lists(64)}, "64 levels"),
        ({"a": [{"b": lists(62)}]}, "64 levels"),
        ({"a\0": 1}, "NUL"),
        ({"a": [{"b": {"\0": 1}}]}, "NUL"),
        ({"$a": 1}, "begin with"),
        ({"$": 1}, "begin with"),
        ({"a": {"$ref": "", "$id": None}}, "ref"),
        ({"a": [[{"$id": 1, "$ref": "c", "x": 1}]]}, "ref"),
    ],
)
def test_what_no_document_can_hold_is_found(data: dict[str, Any], fault: str) -> None:
    ((_, reason),) = find_excesses(data)

    assert fault in reason


def test_every_excess_is_named_with_its_place() -> None:
    data = {
        "$a": 1,
        "b": [1, {"c": MOST + 1, "d/e": [float("inf")]}, {"\0": {"$ref": "", "$id": 1}}],
    }

    assert [path for path, _ in find_excesses(data)] == [
        ("$a",),
        ("b", 1, "c"),
        ("b", 2),
        ("b", 1, "d/e", 0),
        ("b", 2, "\0"),
    ]


@pytest.mark.parametrize("key", ["_id", "_meta"])
def test_keys_of_the_store_are_reserved(key: str) -> None:
    assert [*find_reserved_keys({key: None})] == [((key,), "a reserved key")]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":9223372036854775808}',
        '{"a":-9223372036854775809}',
        '{"a":[1,2,' + "9" * 400 + "]}",
        '{"a":1e400}',
        '{"a":-1E400}',
        '{"a":1E+0400}',
        '{"a":0.1e0000400}',
        '{"a":' + "9" * 400 + ".5}",
        '{"a":' + "9" * 18 + "e291}",
        '{"a\\u0000":1}',
        '{"\\u0024a":1}',
        '{"$a":1}',
        '{"a":{"$ref":"x","$id":1}}',
        '{"a":{"\\u0024ref":"x","\\u0024id":1}}',
        '{"a":{"$\\u0072ef":"x","$i\\u0064":1}}',
        '{"a":' + "[" * 64 + "]" * 64 + "}",
        '{"a":' * 65 + "1" + "}" * 65,
        '{"a":' + '[{"b":' * 32 + "1" + "}]" * 32 + "}",
    ],
)
def test_look_at_the_bytes_misses_no_fault(text: str) -> None:
    content, is_plain = decode_json(text.encode())

    assert [*find_excesses(content)] != []
    assert not is_plain


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"+1 650-333-4444","b":"2026-01-02T10:00:00.123456+00:00","c":12.5e-12,"d":"e100"}',
        '{"a":"US$ 5","b":"\\u00e9 \\"quoted\\"\\n","c":[[],{}],"d":123456789012345678}',
    ],
)
def test_look_at_the_bytes_passes_ordinary_text(text: str) -> None:
    assert decode_json(text.encode())[1]


numbers = (
    st.integers(-(2**70), 2**70).map(str)
    | st.from_regex(r"-?[1-9][0-9]{0,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
    | st.integers(0, 10**320).map(str)
)
keys = st.sampled_from(
    ["a", "$ref", "$id", "\\u0024ref", "$\\u0072ef", "\\u0000", "$x", "x$", "\\\\u0000", '\\"$x']
)
texts = st.recursive(
    numbers | st.sampled_from(['"$ref"', '"-"', '"1e400"', "null", '""']),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: "[" + ",".join(parts) + "]")
        | st.lists(st.tuples(keys, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f'"{key}":{part}' for key, part in pairs) + "}"
        )
        | st.tuples(inner, st.integers(1, 66)).map(lambda p: "[" * p[1] + p[0] + "]" * p[1])
    ),
    max_leaves=6,
)


@settings(max_examples=examples(400))
@given(texts)
def test_what_looks_plain_exceeds_no_limit(text: str) -> None:
    record = f'{{"data":{{"a":{text}}}}}'.encode()
    content, is_plain = decode_json(record)
    if is_plain:
        assert [*find_excesses(content["data"])] == []


@settings(max_examples=examples(100))
@given(st.dictionaries(st.text(), st.lists(st.integers(LEAST, MOST) | st.text())))
def test_ordinary_data_passes(data: dict[str, Any]) -> None:
    """Looked through or not, and whatever the bytes look like."""
    plain = {key.replace("\0", "").lstrip("$"): value for key, value in data.items()}

    assert [*find_excesses(decode_json(json.dumps(plain).encode())[0])] == []
