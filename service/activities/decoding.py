"""JSON to Python values, whole numbers exact and of any nesting (contract 1.2, 1.3).

`orjson` is the fastest, but makes floats of integers beyond 64 bits: it reads records whose bytes
show that they have none. What it refuses may be JSON all the same, so `pydantic_core` has the last
word. That gives up on nesting beyond 200 levels and on numbers beyond 4,300 digits, which around
`data` are no fault: what it refuses is tamed and tried once more.
"""

import re
from typing import Any

import orjson
from pydantic_core import from_json

from service.activities.limits import MAX_LEVELS
from service.activities.scanning import is_plain

_KEPT_LEVELS = 100
_LONG_BYTES = 1000
# None of these can fail halfway, so the search is linear on any text.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]|[-+.0-9eE]++', re.DOTALL)
_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TOO_DEEP = b"[]"
_TOO_LARGE = b"100000000000000000000"


def decode_json(value: bytes) -> tuple[Any, bool]:
    """The content of a JSON text, and whether its bytes show that nothing in it exceeds a limit
    (`limits`), so that it need not be looked through.

    Raises `ValueError` for what is no JSON text in UTF-8. Of equal keys the last counts. What lies
    more than a hundred levels deep may be cut off, an integer of a thousand digits may come as a
    shorter one beyond 64 bits, and a number that overflows a double as infinity.
    """
    if is_plain(value, MAX_LEVELS):
        try:
            return orjson.loads(value), True
        except orjson.JSONDecodeError:
            pass  # a number that overflows a double, or no JSON
    return _decode_patiently(value), False


def _decode_patiently(value: bytes) -> Any:
    try:
        return _decode(value)
    except ValueError:
        tamed = _tame(value)
        if tamed == value:
            raise
        return _decode(tamed)


def _decode(value: bytes) -> Any:
    return from_json(value, allow_inf_nan=False, cache_strings="keys")


def _tame(value: bytes) -> bytes:
    """Cut off containers at every hundredth level and shorten long numbers.

    Raises `ValueError` where what would be cut off is not JSON. In its place stands the same kind
    of token, so that no text becomes JSON that was not.
    """
    tamed, end, level = bytearray(), 0, 0
    starts: list[int] = []
    for token in _TOKENS.finditer(value):
        text = token[0]
        if text in _OPENING:
            level += 1
            if level % _KEPT_LEVELS == 0:
                starts.append(len(tamed) + token.start() - end)
        elif text in _CLOSING:
            if starts and level % _KEPT_LEVELS == 0:
                start = starts.pop()
                if len(tamed) + token.end() - end - start >= _KEPT_LEVELS:
                    tamed += value[end : token.end()]
                    end = token.end()
                    _decode(bytes(tamed[start:]))
                    tamed[start:] = _TOO_DEEP
            level -= 1
        elif len(text) >= _LONG_BYTES:
            tamed += value[end : token.start()] + _shorten(text)
            end = token.end()
    return bytes(tamed + value[end:])


def _shorten(token: bytes) -> bytes:
    """A number of the same kind: an integer beyond 64 bits, or the same float. Else the token."""
    match = _NUMBER.fullmatch(token)
    if match is None:
        return token
    if match.lastindex is None:
        return b"-" + _TOO_LARGE if token.startswith(b"-") else _TOO_LARGE
    return repr(float(token)).replace("inf", "1e999").encode()
