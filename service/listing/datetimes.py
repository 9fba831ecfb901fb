"""Times in a request: the caller's zone, and bounds as whole milliseconds (contract 3.2)."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from service.activities.datetimes import Instant, parse_instant
from service.errors import InvalidRequest

TZ_OFFSET = "X-TZ-Offset"

_OFFSET = re.compile(r"[+-]?[0-9]{1,2}(?:\.[0-9]+)?")
_MAX_OFFSET_HOURS = 14
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)

# A time holds whole milliseconds, so a bound with finer digits lies between two of them.
_INCLUSIVE: Mapping[str, Callable[[int, bool], int]] = MappingProxyType(
    {
        "gt": lambda milliseconds, _: milliseconds + 1,
        "gte": lambda milliseconds, is_between: milliseconds + is_between,
        "lt": lambda milliseconds, is_between: milliseconds - 1 + is_between,
        "lte": lambda milliseconds, _: milliseconds,
    }
)
Operator = Literal["gt", "gte", "lt", "lte"]


def to_milliseconds(time: datetime) -> int:
    """Whole milliseconds since 1970 of a naive UTC time."""
    return (time - _EPOCH) // _MILLISECOND


def parse_tz_offset(text: str | None) -> timedelta:
    """How far naive date-times are ahead of UTC, to the millisecond. Raises `InvalidRequest`."""
    if text is None:
        return timedelta()
    if _OFFSET.fullmatch(text) is None or abs(Decimal(text)) > _MAX_OFFSET_HOURS:
        raise InvalidRequest(
            f"{TZ_OFFSET}: hours from -14 to 14 are accepted, e.g. -4 or 5.5.", parameter=TZ_OFFSET
        )
    return round(timedelta(hours=float(text)) / _MILLISECOND) * _MILLISECOND


def parse_bound(text: str, operator: Operator, offset: timedelta) -> int:
    """The first (gt, gte) or last (lt, lte) millisecond that the bound lets through.

    A `+` that arrived as a space is taken too. Raises `ValueError` for what is no date-time.
    """
    instant: Instant = parse_instant(text.replace(" ", "+"), offset=offset)
    return _INCLUSIVE[operator](to_milliseconds(instant.time), instant.rest > 0)
