"""What an activity may not hold although it is JSON, because no document can (contract 1.3)."""

from collections.abc import Iterator, Mapping
from math import isinf
from typing import Any

from service.errors import Path

MAX_LEVELS = 64
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1
_RESERVED = ("_id", "_meta")

Excess = tuple[Path, str]
# The way from the top to a container, its last step first.
_Way = tuple["_Way", str | int] | None


def find_reserved_keys(activity: Mapping[str, Any]) -> list[Excess]:
    """The top-level keys that the store keeps for itself."""
    return [((key,), "a reserved key") for key in _RESERVED if key in activity]


def find_excesses(activity: dict[str, Any]) -> Iterator[Excess]:
    """Look through a whole activity: where it exceeds a limit, and which. Nesting is named once."""
    for key in activity:
        if key.startswith("$"):
            yield (key,), "a top-level key must not begin with $"
    level = 1
    containers: list[tuple[Any, _Way]] = [(activity, None)]
    while containers:
        if level > MAX_LEVELS:
            yield _to_path(containers[0][1]), f"nested deeper than {MAX_LEVELS} levels"
            return
        inner: list[tuple[Any, _Way]] = []
        for container, way in containers:
            pairs: Any = enumerate(container)
            if isinstance(container, dict):
                pairs = container.items()
                for reason in _find_odd_keys(container):
                    yield _to_path(way), reason
            for step, value in pairs:
                if isinstance(value, dict | list):
                    inner.append((value, (way, step)))
                elif reason := _excess_of_number(value):
                    yield _to_path((way, step)), reason
        containers = inner
        level += 1


def _to_path(way: _Way) -> Path:
    steps: list[str | int] = []
    while way is not None:
        way, step = way
        steps.append(step)
    return tuple(reversed(steps))


def _find_odd_keys(value: dict[str, Any]) -> Iterator[str]:
    if any("\0" in key for key in value):
        yield "a key must not hold a NUL"
    if isinstance(value.get("$ref"), str) and "$id" in value:
        yield "an object must not hold both a $ref and an $id"


def _excess_of_number(value: Any) -> str:
    if isinstance(value, int) and not _MIN_INTEGER <= value <= _MAX_INTEGER:
        return "an integer beyond signed 64 bits"
    if isinstance(value, float) and isinf(value):
        return "a number that overflows a double"
    return ""
