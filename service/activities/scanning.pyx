# cython: language_level=3
"""A look at the bytes of a record that may spare a look at all its values.

Compiled: `bytes` has each of these searches, but needs a copy of the record for two of them.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

cdef enum:
    LONG_NUMBER = 19
    ESCAPE_SIZE = 6
    MAX_FEW = 255  # what a byte can count


def is_plain(bytes record not None, Py_ssize_t max_levels):
    """Whether the bytes show that nothing in this JSON can exceed a limit of contract 1.3 (levels
    of nesting, integers of 64 bits, a NUL in a key, keys with a `$`), unless a number overflows a
    double. Never true of one that does; false of some that do not."""
    cdef const uint8_t *start = record
    cdef const uint8_t *end = start + len(record)
    return not (
        _has_escaped(start, end)
        or _has_dollar(start, end)
        or _has_long_number(start, end)
        or _brackets(start, end) > max_levels
    )


cdef bint _has_escaped(const uint8_t *place, const uint8_t *end) noexcept:
    """Whether a `$` or a NUL is written as an escape."""
    while True:
        place = <const uint8_t *> memchr(place, c"\\", end - place)
        if place is NULL or end - place < ESCAPE_SIZE:
            return False
        if not memcmp(place, b"\\u0024", ESCAPE_SIZE) or not memcmp(place, b"\\u0000", ESCAPE_SIZE):
            return True
        place += 1


cdef bint _has_dollar(const uint8_t *start, const uint8_t *end) noexcept:
    """Whether a text begins with a `$`."""
    cdef const uint8_t *place = start
    while True:
        place = <const uint8_t *> memchr(place, c"$", end - place)
        if place is NULL:
            return False
        if place > start and place[-1] == c'"':
            return True
        place += 1


cdef bint _has_long_number(const uint8_t *start, const uint8_t *end) noexcept:
    """Whether so many digits stand in a row: then one of them is a nineteenth byte."""
    cdef Py_ssize_t size = end - start, place = LONG_NUMBER - 1, first
    while place < size:
        if _is_digit(start[place]):
            first = place
            while first and _is_digit(start[first - 1]):
                first -= 1
            while place < size and _is_digit(start[place]):
                place += 1
            if place - first >= LONG_NUMBER:
                return True
        place += LONG_NUMBER
    return False


cdef Py_ssize_t _brackets(const uint8_t *start, const uint8_t *end) noexcept:
    """How many `[` and `{` there are; the two differ in one bit. Counted in bytes, so that the
    compiler makes sixteen of them one instruction."""
    cdef Py_ssize_t count = 0, size, i
    cdef uint8_t few
    while start < end:
        few, size = 0, min(end - start, MAX_FEW)
        for i in range(size):
            few += (start[i] | 0x20) == c"{"
        count += few
        start += size
    return count


cdef inline bint _is_digit(uint8_t byte) noexcept:
    return c"0" <= byte <= c"9"
