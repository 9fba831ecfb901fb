# cython: language_level=3
"""The one grammar of date-times (contract 1.3), for events and for the parameters of a listing.

Compiled: an event names eight times, and reading them was a quarter of its parsing.
"""

from datetime import timedelta
from typing import NamedTuple

from cpython.datetime cimport datetime, datetime_new, import_datetime
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t, uint8_t

cdef extern from "Python.h":  # which `cpython.unicode` lacks
    bint PyUnicode_IS_ASCII(object text)

import_datetime()

_FORMS = "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm or nothing"
_NO_OFFSET = timedelta()

cdef enum:
    DATE_SIZE = 10  # YYYY-MM-DD
    TIME_SIZE = 19  # YYYY-MM-DDThh:mm:ss
    ZONE_SIZE = 6  # +hh:mm
    MAX_DECIMALS = 9


class Instant(NamedTuple):
    """A point in time to the nanosecond.

    `time` is naive UTC, cut to whole milliseconds; `rest` are the nanoseconds beyond it, 0 to
    999,999.
    """

    time: datetime
    rest: int


cdef struct _Rest:
    int nanoseconds  # beyond the millisecond
    bint has_zone
    int minutes_ahead  # of UTC


def parse_datetime(text):
    """The naive UTC time of a date-time, cut to milliseconds; naive and bare ones are in UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef _Rest rest
    return _read(text, &rest)


def parse_microseconds(text):
    """The whole microseconds since the first of January of the year 1, UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef _Rest rest
    cdef datetime time = _read(text, &rest)
    cdef int64_t hours = 24 * <int64_t> (time.toordinal() - 1) + time.hour
    cdef int64_t seconds = 60 * (60 * hours + time.minute) + time.second
    return 1_000_000 * seconds + time.microsecond + rest.nanoseconds // 1000


def parse_instant(text, *, offset=_NO_OFFSET):
    """The exact time of a date-time; naive and bare ones are `offset`, in whole milliseconds,
    ahead of UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef _Rest rest
    time = _read(text, &rest)
    return Instant(time if rest.has_zone else _minus(time, offset), rest.nanoseconds)


cdef datetime _read(object text, _Rest *rest):
    """The time cut to milliseconds: in UTC, or as written where it names no zone."""
    cdef const uint8_t *place
    cdef const uint8_t *end
    cdef int hour = 0, minute = 0, second = 0, milliseconds = 0
    if not isinstance(text, str) or not PyUnicode_IS_ASCII(text):
        raise _no_datetime()
    place = <const uint8_t *> PyUnicode_1BYTE_DATA(text)
    end = place + PyUnicode_GET_LENGTH(text)
    rest.nanoseconds, rest.has_zone, rest.minutes_ahead = 0, False, 0
    if end - place != DATE_SIZE:
        if end - place < TIME_SIZE or place[10] != c"T" or place[13] != c":" or place[16] != c":":
            raise _no_datetime()
        hour, minute = _number(place + 11, 2), _number(place + 14, 2)
        second = _number(place + 17, 2)
        milliseconds = _read_rest(place + TIME_SIZE, end, rest)
    if place[4] != c"-" or place[7] != c"-":
        raise _no_datetime()
    year, month, day = _number(place, 4), _number(place + 5, 2), _number(place + 8, 2)
    time = datetime_new(year, month, day, hour, minute, second, 1000 * milliseconds, None)
    if rest.minutes_ahead:
        return _minus(time, timedelta(minutes=rest.minutes_ahead))
    return time


cdef int _read_rest(const uint8_t *place, const uint8_t *end, _Rest *rest) except -1:
    """The milliseconds; what stands behind them is put into `rest`."""
    cdef const uint8_t *decimals
    cdef int nanoseconds = 0
    if place < end and place[0] == c".":
        place += 1
        decimals = place
        while place < end and _is_digit(place[0]) and place - decimals < MAX_DECIMALS:
            nanoseconds = 10 * nanoseconds + place[0] - c"0"
            place += 1
        if place == decimals:
            raise _no_datetime()
        for _ in range(MAX_DECIMALS - (place - decimals)):
            nanoseconds *= 10
    if place < end:
        rest.has_zone = True
        rest.minutes_ahead = _minutes_ahead(place, end - place)
    rest.nanoseconds = nanoseconds % 1_000_000
    return nanoseconds // 1_000_000


cdef int _minutes_ahead(const uint8_t *zone, Py_ssize_t size) except? -1:
    cdef int hours, minutes
    if size == 1 and zone[0] == c"Z":
        return 0
    if size != ZONE_SIZE or (zone[0] != c"+" and zone[0] != c"-") or zone[3] != c":":
        raise _no_datetime()
    hours, minutes = _number(zone + 1, 2), _number(zone + 4, 2)
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such zone: {zone[:size].decode()}")
    minutes += 60 * hours
    return minutes if zone[0] == c"+" else -minutes


cdef int _number(const uint8_t *place, int size) except -1:
    cdef int value = 0, i
    for i in range(size):
        if not _is_digit(place[i]):
            raise _no_datetime()
        value = 10 * value + place[i] - c"0"
    return value


cdef inline bint _is_digit(uint8_t byte) noexcept:
    return c"0" <= byte <= c"9"


cdef object _minus(object time, object offset):
    try:
        return time - offset
    except OverflowError as error:
        raise ValueError("not within the years 1 to 9999 in UTC") from error


cdef object _no_datetime():
    return ValueError(f"a date-time is {_FORMS}")
