"""The one grammar of date-times (contract 1.3), for events and for the parameters of a listing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

_FORMS = "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm or nothing"
_MAX_DECIMALS = 9
_MILLISECONDS_END = len("YYYY-MM-DDThh:mm:ss.123")
_YEAR_1 = datetime(1, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_NO_OFFSET = timedelta(0)
# One event names the same time again and again.
_MAX_REMEMBERED = 4096
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def _to_shapes() -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Each form, its digits as 0, with where the time to the millisecond ends and the zone begins."""
    yield b"0000-00-00", (10, 10)
    for decimals in range(_MAX_DECIMALS + 1):
        time = b"0000-00-00T00:00:00" + (b"." + b"0" * decimals if decimals else b"")
        for zone in (b"", b"Z", b"+00:00", b"-00:00"):
            yield time + zone, (min(len(time), _MILLISECONDS_END), len(time))


_SHAPES = dict(_to_shapes())


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
    return _parse(text)[0]


def parse_microseconds(text: object) -> int:
    """The whole microseconds since the first of January of the year 1, UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    time, finer, _ = _parse(text)
    microseconds = (time - _YEAR_1) // _MICROSECOND
    return microseconds + int(finer[:3].ljust(3, "0")) if finer else microseconds


def parse_instant(text: object, *, offset: timedelta = _NO_OFFSET) -> Instant:
    """The exact time of a date-time; naive and bare ones are `offset`, in whole milliseconds,
    ahead of UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    time, finer, is_naive = _parse(text)
    return Instant(_minus(time, offset) if is_naive else time, int(finer.ljust(6, "0")))


def _parse(text: object) -> tuple[datetime, str, bool]:
    """The time cut to milliseconds, the digits beyond it, and whether it names no zone: then it is
    as written, else in UTC."""
    if not isinstance(text, str):
        raise ValueError(f"a date-time is {_FORMS}")
    return _parse_text(text)


@lru_cache(_MAX_REMEMBERED)
def _parse_text(text: str) -> tuple[datetime, str, bool]:
    ends = _SHAPES.get(text.encode(errors="replace").translate(_DIGITS))
    if ends is None or text[11:13] == "24":  # newer Pythons read it as the next day's midnight
        raise ValueError(f"a date-time is {_FORMS}")
    time_end, zone_start = ends
    zone = text[zone_start:]
    time = _minus(datetime.fromisoformat(text[:time_end]), _to_offset(zone))
    return time, text[time_end:zone_start], not zone


def _minus(time: datetime, offset: timedelta) -> datetime:
    try:
        return time - offset
    except OverflowError as error:
        raise ValueError("not within the years 1 to 9999 in UTC") from error


def _to_offset(zone: str) -> timedelta:
    if zone in ("", "Z", "+00:00"):
        return _NO_OFFSET
    hours, minutes = int(zone[1:3]), int(zone[4:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such zone: {zone}")
    ahead = timedelta(hours=hours, minutes=minutes)
    return ahead if zone[0] == "+" else -ahead
