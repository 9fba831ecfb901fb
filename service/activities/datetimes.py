"""The one grammar of date-times (contract 1.3), for events and for the parameters of a listing."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_GRAMMAR = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.([0-9]{1,9}))?"
    r"(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?",
)
_FORMS = "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm or nothing"
_YEAR_1 = datetime(1, 1, 1)
_NO_OFFSET = timedelta(0)


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A point in time to the nanosecond.

    `time` is naive UTC, cut to whole milliseconds; `rest` are the nanoseconds beyond it, 0 to
    999,999.
    """

    time: datetime
    rest: int


def parse_datetime(text: str) -> datetime:
    """The naive UTC time of a date-time, cut to milliseconds; naive and bare ones are in UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    return _to_milliseconds(_parse(text, _NO_OFFSET)[0])


def parse_microseconds(text: str) -> int:
    """The whole microseconds since the first of January of the year 1, UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    passed = _parse(text, _NO_OFFSET)[0] - _YEAR_1
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def parse_instant(text: str, *, offset: timedelta = _NO_OFFSET) -> Instant:
    """The exact time of a date-time; naive and bare ones are `offset` ahead of UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    time, decimals = _parse(text, offset)
    return Instant(_to_milliseconds(time), int(decimals.ljust(9, "0")) % 1_000_000)


def _parse(text: str, offset: timedelta) -> tuple[datetime, str]:
    """The naive UTC time cut to microseconds, and the decimals as they came."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ValueError(f"a date-time is {_FORMS}")
    decimals, zone = match.groups("")
    try:
        time = datetime.fromisoformat(text)
        time = time.astimezone(UTC).replace(tzinfo=None) if zone else time - offset
    except (ValueError, OverflowError) as error:
        raise ValueError("no such day, or not within the years 1 to 9999 in UTC") from error
    return time, decimals


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
