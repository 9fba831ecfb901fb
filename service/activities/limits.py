"""What an activity may not hold although it is JSON, because no document can (contract 1.3)."""

from collections.abc import Mapping
from math import isinf
from typing import Any

MAX_LEVELS = 64
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1
_RESERVED = ("_id", "_meta")

# Digits become 0, signs vanish, brackets are one: so that a plain search finds each shape.
_SHAPES = bytes.maketrans(b"123456789E{", b"000000000e[")
_SIGNS = b"+-"
_LONG_NUMBER = b"0" * 19
_LARGE_EXPONENT = b"0e000"


def is_plain(record: bytes) -> bool:
    """Whether the bytes of a record show that nothing in it can exceed a limit.

    Never true of one that does; false of some that do not, which are then looked through. The
    search for a single byte goes first: it costs a tenth of the others.
    """
    if b"\\" in record and (b"\\u0024" in record or b"\\u0000" in record):
        return False
    if b"$" in record and b'"$' in record:
        return False
    shapes = record.translate(_SHAPES, _SIGNS)
    return (
        shapes.count(b"[") <= MAX_LEVELS
        and _LONG_NUMBER not in shapes
        and _LARGE_EXPONENT not in shapes
    )


def check_keys(activity: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a top-level key that the store keeps for itself."""
    for key in _RESERVED:
        if key in activity:
            raise ValueError(f"the key {key} is reserved")


def check_limits(activity: dict[str, Any]) -> None:
    """Look through a whole activity. Raises `ValueError` for the first limit that it exceeds."""
    if any(key.startswith("$") for key in activity):
        raise ValueError("a top-level key begins with $")
    level, values = 1, list[Any]([activity])
    while values:
        if level > MAX_LEVELS:
            raise ValueError(f"nested deeper than {MAX_LEVELS} levels")
        values = [inner for value in values for inner in _containers_in(value)]
        level += 1


def _containers_in(container: Any) -> list[Any]:
    if isinstance(container, dict):
        _check_object(container)
        container = container.values()
    inner = []
    for value in container:
        if isinstance(value, dict | list):
            inner.append(value)
        else:
            _check_number(value)
    return inner


def _check_object(value: dict[str, Any]) -> None:
    if any("\0" in key for key in value):
        raise ValueError("a key holds a NUL")
    if isinstance(value.get("$ref"), str) and "$id" in value:
        raise ValueError("an object holds both a $ref and an $id")


def _check_number(value: Any) -> None:
    if isinstance(value, int) and not _MIN_INTEGER <= value <= _MAX_INTEGER:
        raise ValueError("an integer is beyond signed 64 bits")
    if isinstance(value, float) and isinf(value):
        raise ValueError("a number overflows a double")
