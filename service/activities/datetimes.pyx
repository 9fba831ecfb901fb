# cython: language_level=3
"""The one grammar of date-times (contract 1.3), for events and for the parameters of a listing.

Compiled: an event names eight times, and reading them was a quarter of its parsing.
"""

from datetime import timedelta
from typing import NamedTuple

from cpython.datetime cimport datetime, datetime_new, import_datetime
from libc.stdint cimport int64_t, uint8_t

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    const uint8_t *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

import_datetime()

_FORMS = "YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm or nothing"
_NO_OFFSET = timedelta()

cdef enum:
    DATE_SIZE = 10  # YYYY-MM-DD
    TIME_SIZE = 19  # YYYY-MM-DDThh:mm:ss
    ZONE_SIZE = 6  # +hh:mm
    DECIMALS = 9


class Instant(NamedTuple):
    """A point in time to the nanosecond.

    `time` is naive UTC, cut to whole milliseconds; `rest` are the nanoseconds beyond it, 0 to
    999,999.
    """

    time: datetime
    rest: int


cdef struct _Zone:
    bint is_named
    int minutes  # ahead of UTC


def parse_datetime(text):
    """The naive UTC time of a date-time, cut to milliseconds; naive and bare ones are in UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef int rest
    cdef bint is_naive
    return _read(text, &rest, &is_naive)


def parse_microseconds(text):
    """The whole microseconds since the first of January of the year 1, UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef int rest
    cdef bint is_naive
    cdef datetime time = _read(text, &rest, &is_naive)
    cdef int64_t hours = 24 * <int64_t> (time.toordinal() - 1) + time.hour
    cdef int64_t seconds = 60 * (60 * hours + time.minute) + time.second
    return 1_000_000 * seconds + time.microsecond + rest // 1000


def parse_instant(text, *, offset=_NO_OFFSET):
    """The exact time of a date-time; naive and bare ones are `offset`, in whole milliseconds,
    ahead of UTC.

    Raises `ValueError` for what is no date-time of contract 1.3.
    """
    cdef int rest
    cdef bint is_naive
    time = _read(text, &rest, &is_naive)
    return Instant(_minus(time, offset) if is_naive else time, rest)


cdef datetime _read(object text, int *rest, bint *is_naive):
    """The time cut to milliseconds, the nanoseconds beyond it, and whether it names no zone: then
    it is as written, else in UTC."""
    cdef const uint8_t *place
    cdef const uint8_t *end
    cdef int hour = 0, minute = 0, second = 0, nanoseconds = 0
    cdef _Zone zone = _Zone(False, 0)
    if not isinstance(text, str) or not PyUnicode_IS_ASCII(text):
        raise _no_datetime()
    place = PyUnicode_1BYTE_DATA(text)
    end = place + PyUnicode_GET_LENGTH(text)
    if end - place != DATE_SIZE:
        if end - place < TIME_SIZE or place[10] != c"T" or place[13] != c":" or place[16] != c":":
            raise _no_datetime()
        hour, minute, second = _number(place + 11, 2), _number(place + 14, 2), _number(place + 17, 2)
        nanoseconds = _read_rest(place + TIME_SIZE, end, &zone)
    if place[4] != c"-" or place[7] != c"-":
        raise _no_datetime()
    time = datetime_new(
        _number(place, 4),
        _number(place + 5, 2),
        _number(place + 8, 2),
        hour,
        minute,
        second,
        nanoseconds // 1_000_000 * 1000,
        None,
    )
    rest[0] = nanoseconds % 1_000_000
    is_naive[0] = not zone.is_named
    return _minus(time, timedelta(minutes=zone.minutes)) if zone.minutes else time


cdef int _read_rest(const uint8_t *place, const uint8_t *end, _Zone *zone) except -1:
    """The nanoseconds, and the zone that ends the text."""
    cdef const uint8_t *decimals
    cdef int nanoseconds = 0
    cdef Py_ssize_t missing
    if place < end and place[0] == c".":
        decimals = place = place + 1
        while place < end and _is_digit(place[0]) and place - decimals < DECIMALS:
            nanoseconds = 10 * nanoseconds + place[0] - c"0"
            place += 1
        if place == decimals:
            raise _no_datetime()
        for missing in range(DECIMALS - (place - decimals)):
            nanoseconds *= 10
    if place == end:
        return nanoseconds
    zone.is_named = True
    if end - place == ZONE_SIZE and (place[0] == c"+" or place[0] == c"-") and place[3] == c":":
        zone.minutes = _offset(_number(place + 1, 2), _number(place + 4, 2))
        if place[0] == c"-":
            zone.minutes = -zone.minutes
    elif end - place != 1 or place[0] != c"Z":
        raise _no_datetime()
    return nanoseconds


cdef int _offset(int hours, int minutes) except -1:
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such zone: {hours:02}:{minutes:02}")
    return 60 * hours + minutes


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
