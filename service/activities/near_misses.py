"""What is applied as it is, and was hardly meant so: told to whoever checks or publishes events."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from service.activities.base import fields_of
from service.activities.data import parse_data
from service.activities.events import decode_event, find_type
from service.activities.types import BY_NAME, EMAIL_THREAD, ActivityType
from service.errors import Path, to_pointer, to_words

_ENVELOPE = (
    "id",
    "object_type",
    "object_id",
    "action",
    "date_created",
    "date_updated",
    "organization_id",
    "lead_id",
    "user_id",
    "changed_fields",
    "previous_data",
    "meta",
    "request_id",
    "data",
)
# Of names shorter than this many are one letter apart.
_MIN_CHARACTERS = 4


class NearMiss(NamedTuple):
    """One place of an event, from its top, and what is odd there."""

    path: Path
    reason: str

    @property
    def pointer(self) -> str:
        return to_pointer(self.path)

    def __str__(self) -> str:
        return to_words(self.path, self.reason)


def find_near_misses(record: bytes) -> list[NearMiss]:
    """What is odd about a record that is applied: fields that deviate from their type, names that
    are nearly known, a lead that differs between the event and its data, no lead at all."""
    event, is_plain = decode_event(record)
    type_ = find_type(event)
    if type_ is None:
        return []
    found = [*_find_names(event, None, ())]
    data = event.get("data")
    if event["action"] != "deleted" and isinstance(data, dict):
        found += _find_names(data, type_.name, ("data",))
        found += _find_leads(type_, event, data)
        _, deviations = parse_data(type_, event, record, is_plain=is_plain)
        found += [
            NearMiss(("data", *one.path), f"{one.reason} is meant; kept as it came")
            for one in deviations
        ]
    return found


def _find_names(
    content: Mapping[str, Any], type_name: str | None, place: Path
) -> Iterator[NearMiss]:
    for name in content:
        meant = _find_meant(name, type_name)
        if meant and meant not in content:
            yield NearMiss((*place, name), f"not a known field; {meant} may be meant")


@lru_cache(maxsize=4096)
def _find_meant(name: str, type_name: str | None) -> str | None:
    """The known field that an unknown one is a letter from, or is in another spelling."""
    known = _known_fields(type_name)
    if name in known or len(name) < _MIN_CHARACTERS or name.startswith("custom."):
        return None
    return next((one for one in known if _is_near(name, one)), None)


def _known_fields(type_name: str | None) -> tuple[str, ...]:
    if type_name is None:
        return _ENVELOPE
    return tuple(name for name, _ in fields_of(BY_NAME[type_name].model))


def _is_near(name: str, known: str) -> bool:
    """One letter more, less or other, two that changed places, or `dateCreated`."""
    if name.lower().replace("_", "") == known.replace("_", ""):
        return True
    if abs(len(name) - len(known)) > 1 or len(known) < _MIN_CHARACTERS:
        return False
    start = 0
    while start < min(len(name), len(known)) and name[start] == known[start]:
        start += 1
    rest, known_rest = name[start:], known[start:]
    swapped = rest[1::-1] + rest[2:]
    return (
        rest == known_rest[1:] or rest[1:] in (known_rest, known_rest[1:]) or swapped == known_rest
    )


def _find_leads(
    type_: ActivityType, event: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[NearMiss]:
    around, inside = event.get("lead_id"), data.get("lead_id")
    if around and inside and around != inside:
        yield NearMiss(("data", "lead_id"), f"the event says {around}; {inside} counts")
    if not around and not inside and type_.name != EMAIL_THREAD:
        yield NearMiss(("data", "lead_id"), "no lead: it is on no lead's timeline")
