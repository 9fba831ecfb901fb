"""JSON to Python values: what is refused, and what is read although parsers give up on it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.decoding import decode_json
from tests.examples import examples

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def decoded(text: bytes) -> Any:
    return decode_json(text)[0]


def nested(levels: int, inside: str = "", opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + inside + closing * levels).encode()


def levels_of(value: Any) -> int:
    levels = 0
    while isinstance(value, list | dict) and value:
        value = value["a"] if isinstance(value, dict) else value[-1]
        levels += 1
    return levels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b" \t\r\n{} ", {}),
        (b'"\xc3\xa9 \\u00e9 \\ud83d\\ude00"', "é é 😀"),
        (b'"\\u0000"', "\0"),
        (b'{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        (b'{"a": 1, "\\u0061": 3}', {"a": 3}),
        (b"9223372036854775808", 2**63),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"9" * 400, int("9" * 400)),
        (b"1.0", 1.0),
        (b"1e5", 100000.0),
        (b"-0.0", -0.0),
        (b"1e-400", 0.0),
        (b"1e400", float("inf")),
        (b"-1E+0400", float("-inf")),
        (b"0.1234567890123456789012345", 0.12345678901234568),
    ],
)
def test_json_is_read_exactly(text: bytes, expected: object) -> None:
    value = decoded(text)

    assert repr(value) == repr(expected)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b"[1 2]",
        b"{} {}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"NaN",
        b"[NaN]",
        b"Infinity",
        b"-Infinity",
        b"nul",
        b"True",
        b'"\n"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\ud800"',
        b'"\\ud800\\u0041"',
        b'"\\udc00\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"/* */ {}",
        b"\xc2\xa0{}",
    ],
)
def test_anything_else_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(text)


@pytest.mark.parametrize("levels", [100, 199, 200, 201, 250, 1_000, 100_000])
def test_deep_nesting_is_read_with_its_first_levels(levels: int) -> None:
    assert levels_of(decoded(nested(levels))) >= min(levels - 1, 99)
    assert levels_of(decoded(nested(levels, "1", '{"a":', "}"))) >= min(levels - 1, 99)


def test_what_stands_beside_deep_nesting_is_kept() -> None:
    text = b'{"deep": %b, "text": "[\\"[{", "n": [%b, 5]}' % (nested(300, '"]"'), nested(120))

    value = decoded(text)

    assert value["text"] == '["[{'
    assert value["n"][1] == 5
    assert levels_of(value["deep"]) >= 98


@pytest.mark.parametrize(
    "text",
    [
        nested(300)[:-1],
        nested(300) + b"]",
        nested(300, "1,"),
        nested(300, "{}}"),
        nested(300, "01"),
        nested(300, "NaN"),
        nested(300, '"\\ud800"'),
        nested(300, '"'),
        nested(150, "1") + nested(150, "1"),
        nested(300)[:-200] + b"}" + nested(300)[-199:],
        b"1" + nested(300),
        nested(300) + b"1",
        b"[1" + nested(300) + b"]",
        b"[" + nested(300) + b"1]",
        b"[" * 99 + b"1" + nested(200) + b"]" * 99,
        b"[" * 99 + nested(200) + b"1" + b"]" * 99,
        b"[" * 99 + nested(200) + nested(200) + b"]" * 99,
        b"{" + nested(300) + b":1}",
        b'"' + nested(300),
        b"\\" + nested(300),
        nested(300) + b"\\",
        b"]" * 300 + b"[" * 300,
        b'["' * 300 + b'"]' * 299,
    ],
)
def test_deep_text_that_is_no_json_stays_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(text)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("9" * 5000, 10**20),
        ("-" + "9" * 5000, -(10**20)),
        ("9" * 5000 + ".5", float("inf")),
        ("-" + "9" * 5000 + "e1", float("-inf")),
        ("1" * 5000 + ".5e-4999", 1.1111111111111112),
        ("0." + "1" * 5000, 0.1111111111111111),
    ],
)
def test_long_number_stays_of_its_kind(number: str, expected: float) -> None:
    value = decoded(f'[{number}, "{number}", 5]'.encode())

    assert value == [pytest.approx(expected), number, 5]
    assert type(value[0]) is type(expected)


@pytest.mark.parametrize(
    "number",
    ["0" * 5000, "-0" + "1" * 5000, "1" * 5000 + ".", "1" * 5000 + ".5.5", "+" + "1" * 5000],
)
def test_long_text_of_digits_that_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(f"[{number}]".encode())


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [b'"\\' * 500_000, b"[" * 500_000, (b"1" * 999 + b",") * 1_000, b"[" * 99 + b"[]" * 100_000],
    ids=["quotes", "brackets", "digits", "siblings"],
)
def test_hostile_text_is_refused_in_linear_time(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(text)


@settings(max_examples=examples(150))
@given(json_values, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value: Any, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, allow_nan=True)
    if "Infinity" in text:
        return

    assert repr(decoded(text.encode())) == repr(json.loads(text))


@settings(max_examples=examples(150))
@given(json_values, st.integers(201, 400))
def test_beside_deep_nesting_nothing_changes(value: Any, levels: int) -> None:
    text = json.dumps(value, allow_nan=True)
    if "Infinity" in text:
        return

    content = decoded(b'{"value": %b, "deep": %b}' % (text.encode(), nested(levels)))

    assert repr(content["value"]) == repr(json.loads(text))


@settings(max_examples=examples(150))
@given(st.text(alphabet='[]{}",:\\1e ', max_size=12), st.integers(0, 12))
def test_taming_accepts_nothing_that_is_no_json(piece: str, place: int) -> None:
    """The same damage done to shallow and to deep nesting is found in both."""
    cut = min(place, 12)
    shallow = "[" * 12 + "1" + "]" * 12
    deep = "[" * 288 + shallow + "]" * 288
    at = 288 + cut
    is_json = _is_json(shallow[:cut] + piece + shallow[cut:])

    try:
        decoded((deep[:at] + piece + deep[at:]).encode())
    except ValueError:
        assert not is_json
    else:
        # The piece may close the inner levels and open them again, so only the whole counts.
        assert is_json or _is_json(deep[200:at] + piece + deep[at:-200])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
