"""What an activity may not hold although it is JSON, because no document can (contract 1.3)."""

from collections.abc import Mapping
from math import isinf
from typing import Any

MAX_LEVELS = 64
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


def check_keys(activity: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a top-level key that the store keeps for itself."""
    if "_id" in activity or "_meta" in activity:
        raise ValueError("the keys _id and _meta are reserved")


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
