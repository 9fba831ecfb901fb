"""The one grammar of date-times (contract 1.3), for events and for the parameters of a listing."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

# A time to the millisecond, the digits beyond it, the zone; or a bare date.
_GRAMMAR = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,3})?)"
    r"((?<=\.\d{3})\d{1,6})?"
    r"(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?"
    r"|\d{4}-\d\d-\d\d",
    re.ASCII,
)
_FORMS = "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm or nothing"
_YEAR_1 = datetime(1, 1, 1)
_NO_OFFSET = timedelta(0)
_MAX_LENGTH = len("YYYY-MM-DDThh:mm:ss.123456789+hh:mm")
# One event names the same time again and again.
_MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A point in time to the nanosecond.

    `time` is naive UTC, cut to whole milliseconds; `rest` are the nanoseconds beyond it, 0 to
    999,999.
    """

    time: datetime
    rest: int


def parse_datetime(text: object) -> datetime:
    """The naive UTC time of a date-time, cut to milliseconds; naive and bare ones are in UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    return _parse(text, _NO_OFFSET)[0]


def parse_microseconds(text: object) -> int:
    """The whole microseconds since the first of January of the year 1, UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    time, finer = _parse(text, _NO_OFFSET)
    passed = time - _YEAR_1
    microseconds = passed.microseconds + int(finer[:3].ljust(3, "0"))
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + microseconds


def parse_instant(text: object, *, offset: timedelta = _NO_OFFSET) -> Instant:
    """The exact time of a date-time; naive and bare ones are `offset`, in whole milliseconds,
    ahead of UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    time, finer = _parse(text, offset)
    return Instant(time, int(finer.ljust(6, "0")))


def _parse(text: object, offset: timedelta) -> tuple[datetime, str]:
    """The naive UTC time cut to milliseconds, and the digits beyond it."""
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise ValueError(f"a date-time is {_FORMS}")
    return _parse_text(text, offset)


@lru_cache(_MAX_REMEMBERED)
def _parse_text(text: str, offset: timedelta) -> tuple[datetime, str]:
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(f"a date-time is {_FORMS}")
    moment, finer, zone = match.groups()
    try:
        time = datetime.fromisoformat(moment or text) - (_to_offset(zone) if zone else offset)
    except (ValueError, OverflowError) as error:
        raise ValueError("no such day, or not within the years 1 to 9999 in UTC") from error
    return time, finer or ""


def _to_offset(zone: str) -> timedelta:
    if zone in ("Z", "+00:00"):
        return _NO_OFFSET
    ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
    return ahead if zone[0] == "+" else -ahead
