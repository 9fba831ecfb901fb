# cython: language_level=3
"""BSON to JSON in one pass, without the Python values in between.

A page of a hundred activities is five thousand values: to make an object of each, only to print it,
took most of a request. Texts are taken for the UTF-8 they are.

It knows nothing of activities but that a row has an `id` and a time it is sorted by.
"""

from typing import NamedTuple

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.conversion cimport Py_DTSF_ADD_DOT_0, PyOS_double_to_string
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen
from libc.time cimport time_t, tm

from service.bson.kinds cimport (
    ARRAY,
    BOOLEAN,
    DATETIME,
    DOCUMENT,
    DOUBLE,
    INT32,
    INT64,
    NULL_VALUE,
    STRING,
)
from service.bson.reading cimport (
    Reader,
    enter,
    is_date,
    is_text,
    skip,
    take,
    take_double,
    take_int32,
    take_int64,
    take_name,
    take_string,
)

cdef extern from "<math.h>":  # `libc.math` has it for long doubles alone
    bint isfinite(double value)

cdef extern from "<time.h>":
    tm *gmtime_r(const time_t *seconds, tm *broken_down)

cdef enum:
    WORD = 8
    MAX_LEVELS = 200
    MAX_NUMBER_SIZE = 32
    MAX_DATETIME_SIZE = 40

cdef uint64_t HIGH_BITS = 0x8080808080808080
cdef const char *HEXADECIMAL = "0123456789abcdef"
# Behind the backslash; `u` is followed by the code. 0 where a byte stands for itself.
cdef uint8_t[256] ESCAPES
for _byte in range(256):
    ESCAPES[_byte] = b"u"[0] if _byte < 0x20 else 0
for _byte, _escape in zip(b'\b\t\n\f\r"\\', b'btnfr"\\', strict=True):
    ESCAPES[_byte] = _escape
del _byte, _escape


class Place(NamedTuple):
    """Where a row stands: its sort time, in milliseconds since 1970, and its stored id. A document
    that is odd may be without a time, or without an id (`""`)."""

    time: int | None
    id: str


class Row(NamedTuple):
    """One document as JSON."""

    json: bytearray
    place: Place


class Rows(NamedTuple):
    """Documents as JSON, with commas between; the places of the last one, if there is one, and of
    the document behind it, if there is one."""

    json: bytearray
    number: int
    last: Place | None
    following: Place | None


# --- reading --------------------------------------------------------------------------------------
cdef bint _find(Reader *reader, uint8_t kind, bytes name, Reader *found) except -1:
    """Whether a document has a field of that name and kind; `found` begins at its value."""
    cdef Reader ahead = reader[0]
    cdef uint8_t other
    cdef const uint8_t *other_name
    cdef Py_ssize_t size
    while ahead.place < ahead.end:
        other = take(&ahead, 1)[0]
        other_name = take_name(&ahead, &size)
        if other == kind and is_text(other_name, size, name):
            found[0] = ahead
            return True
        skip(&ahead, other)
    return False


@cython.final
cdef class Documents:
    """The documents in the reply to a `find`. Where there are more, `cursor_id` is not 0.

    `cursor` are the bytes of the reply's `cursor`. Raises `ValueError` for others.
    """

    cdef const uint8_t[::1] _bytes
    cdef Reader _documents
    cdef readonly object cursor
    cdef readonly int64_t cursor_id

    def __cinit__(self, cursor):
        cdef Reader reader, fields, found
        self.cursor = cursor
        self._bytes = cursor
        if not self._bytes.shape[0]:
            raise ValueError("BSON that ends too early")
        reader.place = &self._bytes[0]
        reader.end = reader.place + self._bytes.shape[0]
        enter(&reader, &fields)
        if not _find(&fields, INT64, b"id", &found):
            raise ValueError("a reply without a cursor")
        self.cursor_id = take_int64(&found)
        if not _find(&fields, ARRAY, b"firstBatch", &found):
            raise ValueError("a reply without documents")
        enter(&found, &self._documents)


@cython.final
cdef class Transcoder:
    """Shows documents as rows: of the top-level fields those in `names`, all of them for None, and
    the text in `id` without `id_suffix`. `time_field` holds the date that the rows are sorted by.
    `show_odd` gives JSON and place of a document that holds what JSON does not have, that has no id
    or time, or a text that is no UTF-8; without it such a document is a `ValueError`.
    """

    cdef bytes _time_field
    cdef bytes _id_suffix
    cdef frozenset _names
    cdef object _show_odd

    # What is written. `_room` is what fits in before the bytes must grow.
    cdef bytearray _json
    cdef uint8_t *_start
    cdef Py_ssize_t _size
    cdef Py_ssize_t _room
    # All bits of the text that is being written.
    cdef uint64_t _bits

    # Of the document that was read last.
    cdef int64_t _time
    cdef bint _has_time
    cdef const uint8_t *_id
    cdef Py_ssize_t _id_size
    cdef object _odd_place

    def __cinit__(self, *, time_field, id_suffix, names, show_odd=None):
        self._show_odd = show_odd
        self._time_field = time_field.encode()
        self._id_suffix = id_suffix.encode()
        self._names = None if names is None else frozenset(
            [name.encode(errors="surrogatepass") for name in names]
        )

    def each(self, Documents documents not None):
        """The documents one by one. Raises `ValueError` where one is none that can be shown."""
        cdef Reader reader = documents._documents
        while reader.place < reader.end:
            self._open(0)
            self._copy_row(&reader)
            yield Row(self._close(self._size), self._to_place())

    def rows(self, Documents documents not None, Py_ssize_t at_most, Py_ssize_t max_bytes):
        """The first documents, `at_most` of them, and no more than it takes to have more than
        `max_bytes` of JSON. Raises `ValueError` where one is none that can be shown."""
        cdef Reader reader = documents._documents
        cdef Py_ssize_t number = 0, size
        last = following = None
        self._open(reader.end - reader.place)
        while reader.place < reader.end and number < at_most and self._size <= max_bytes:
            if number:
                self._put(c",")
            self._copy_row(&reader)
            number += 1
        if number:
            last = self._to_place()
        size = self._size
        if reader.place < reader.end:
            self._copy_row(&reader)
            following = self._to_place()
        return Rows(self._close(size), number, last, following)

    cdef int _open(self, Py_ssize_t bson_size) except -1:
        self._json = bytearray()
        self._size = self._room = 0
        return self._grow(bson_size * 5 // 4)

    cdef bytearray _close(self, Py_ssize_t size):
        json, self._json = self._json, None
        PyByteArray_Resize(json, size)
        return json

    cdef object _to_place(self):
        if self._odd_place is not None:
            return self._odd_place
        return Place(self._time, self._id[:self._id_size].decode())

    # --- the walk ---------------------------------------------------------------------------------
    cdef int _copy_row(self, Reader *reader) except -1:
        """A document as it stands in an array, which names it by its number."""
        cdef Py_ssize_t size
        if take(reader, 1)[0] != DOCUMENT:
            raise ValueError("a document that is none")
        take_name(reader, &size)
        self._odd_place = None
        if self._show_odd is None:
            return self._copy_plain_row(reader)
        return self._copy_any_row(reader)

    cdef int _copy_plain_row(self, Reader *reader) except -1:
        self._has_time, self._id = False, NULL
        self._copy_container(reader, DOCUMENT, 1)
        if self._id is NULL or not self._has_time:
            raise ValueError("a document without an id or a time")
        return 0

    cdef int _copy_any_row(self, Reader *reader) except -1:
        cdef const uint8_t *begin = reader.place
        cdef Py_ssize_t before = self._size
        cdef Reader inner
        cdef bytes json
        try:
            return self._copy_plain_row(reader)
        except ValueError:
            reader.place = begin
        enter(reader, &inner)
        json, self._odd_place = self._show_odd(<bytes> begin[:reader.place - begin])
        self._size = before
        return self._put_all(<const uint8_t *> json, len(json))

    cdef int _copy_container(self, Reader *reader, uint8_t kind, int level) except -1:
        cdef Reader inner
        cdef Py_ssize_t first
        if level > MAX_LEVELS:
            raise ValueError("documents in documents, too many of them")
        enter(reader, &inner)
        self._reserve(inner.end - inner.place)
        self._put(c"[" if kind == ARRAY else c"{")
        first = self._size
        while inner.place < inner.end:
            self._copy_element(&inner, kind, level, first)
        self._put(c"]" if kind == ARRAY else c"}")
        return 0

    cdef int _copy_element(
        self, Reader *reader, uint8_t container, int level, Py_ssize_t first
    ) except -1:
        cdef Py_ssize_t before = self._size, name_size
        cdef uint8_t kind = take(reader, 1)[0]
        cdef const uint8_t *name = take_name(reader, &name_size)
        if self._size > first:
            self._put(c",")
        if container == DOCUMENT:
            self._put_text(name, name_size)
            self._put(c":")
        if level > 1:
            return self._copy_value(reader, kind, level)
        self._copy_field(reader, kind, name, name_size)
        if self._names is not None and name[:name_size] not in self._names:
            self._size = before
        return 0

    cdef int _copy_field(
        self, Reader *reader, uint8_t kind, const uint8_t *name, Py_ssize_t name_size
    ) except -1:
        """A value of the top level: two of them say where the row stands."""
        if kind == STRING and is_text(name, name_size, b"id"):
            self._id = take_string(reader, &self._id_size)
            return self._put_text(self._id, self._id_size - self._suffix_size())
        if kind == DATETIME and is_text(name, name_size, self._time_field):
            self._time, self._has_time = take_int64(reader), True
            return self._put_datetime(self._time)
        return self._copy_value(reader, kind, 1)

    cdef Py_ssize_t _suffix_size(self) noexcept:
        cdef Py_ssize_t size = len(self._id_suffix)
        if size > self._id_size:
            return 0
        return size if is_text(self._id + self._id_size - size, size, self._id_suffix) else 0

    cdef int _copy_value(self, Reader *reader, uint8_t kind, int level) except -1:
        cdef const uint8_t *text
        cdef Py_ssize_t size
        if kind == STRING:
            text = take_string(reader, &size)
            return self._put_text(text, size)
        if kind == DOCUMENT or kind == ARRAY:
            return self._copy_container(reader, kind, level + 1)
        if kind == NULL_VALUE:
            return self._put_all(b"null", 4)
        if kind == BOOLEAN:
            if take(reader, 1)[0]:
                return self._put_all(b"true", 4)
            return self._put_all(b"false", 5)
        if kind == DATETIME:
            return self._put_datetime(take_int64(reader))
        if kind == INT32:
            return self._put_integer(take_int32(reader))
        if kind == INT64:
            return self._put_integer(take_int64(reader))
        if kind == DOUBLE:
            return self._put_double(take_double(reader))
        raise ValueError(f"a value of kind {kind}, which JSON does not have")

    # --- writing ----------------------------------------------------------------------------------
    cdef int _grow(self, Py_ssize_t more) except -1:
        self._room = max(2 * self._room, self._size + more)
        PyByteArray_Resize(self._json, self._room)
        self._start = <uint8_t *> PyByteArray_AS_STRING(self._json)
        return 0

    cdef inline uint8_t *_reserve(self, Py_ssize_t size) except NULL:
        """Where the next bytes go, with room for so many."""
        if self._room - self._size < size:
            self._grow(size)
        return self._start + self._size

    cdef inline int _put(self, uint8_t byte) except -1:
        self._reserve(1)[0] = byte
        self._size += 1
        return 0

    cdef inline int _put_all(self, const void *source, Py_ssize_t size) except -1:
        memcpy(self._reserve(size), source, size)
        self._size += size
        return 0

    cdef int _put_text(self, const uint8_t *text, Py_ssize_t size) except -1:
        cdef Py_ssize_t done = 0, plain
        self._put(c'"')
        self._bits = 0
        while True:
            plain = self._put_plain(text + done, size - done)
            done += plain
            if done == size:
                break
            self._put_escaped(text[done])
            done += 1
        if self._bits & HIGH_BITS and not is_utf8(text, size):
            raise ValueError("a text that is no UTF-8")
        return self._put(c'"')

    cdef Py_ssize_t _put_plain(self, const uint8_t *text, Py_ssize_t size) except -1:
        """What stands before the first byte that needs an escape, eight at a time."""
        cdef uint8_t *out = self._reserve(size)
        cdef Py_ssize_t done = 0
        cdef uint64_t word
        while done + WORD <= size:
            memcpy(&word, text + done, WORD)
            if _has_escapes(word):
                break
            memcpy(out + done, &word, WORD)
            self._bits |= word
            done += WORD
        while done < size and not ESCAPES[text[done]]:
            out[done] = text[done]
            self._bits |= text[done]
            done += 1
        self._size += done
        return done

    cdef int _put_escaped(self, uint8_t byte) except -1:
        self._put(c"\\")
        self._put(ESCAPES[byte])
        if ESCAPES[byte] == c"u":
            self._put_all(b"00", 2)
            self._put(HEXADECIMAL[byte >> 4])
            self._put(HEXADECIMAL[byte & 0x0F])
        return 0

    cdef int _put_integer(self, int64_t value) except -1:
        cdef char *out = <char *> self._reserve(MAX_NUMBER_SIZE)
        self._size += snprintf(out, MAX_NUMBER_SIZE, "%lld", <long long> value)
        return 0

    cdef int _put_double(self, double value) except -1:
        cdef char *text
        if not isfinite(value):
            return self._put_all(b"null", 4)
        text = PyOS_double_to_string(value, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        try:
            return self._put_all(text, strlen(text))
        finally:
            PyMem_Free(text)

    cdef int _put_datetime(self, int64_t milliseconds) except -1:
        """In UTC, `2026-01-02T10:00:00.001000+00:00`; a whole second has no decimals."""
        cdef time_t seconds = milliseconds // 1000
        cdef int64_t rest = milliseconds % 1000
        cdef tm time
        if not is_date(milliseconds):
            raise ValueError("a date that is not within the years 1 to 9999")
        gmtime_r(&seconds, &time)
        self._reserve(MAX_DATETIME_SIZE)
        self._put(c'"')
        self._put_digits(time.tm_year + 1900, 4)
        self._put(c"-")
        self._put_digits(time.tm_mon + 1, 2)
        self._put(c"-")
        self._put_digits(time.tm_mday, 2)
        self._put(c"T")
        self._put_digits(time.tm_hour, 2)
        self._put(c":")
        self._put_digits(time.tm_min, 2)
        self._put(c":")
        self._put_digits(time.tm_sec, 2)
        if rest:
            self._put(c".")
            self._put_digits(rest, 3)
            self._put_all(b"000", 3)
        return self._put_all(b'+00:00"', 7)

    cdef inline int _put_digits(self, int value, int count) except -1:
        cdef uint8_t *out = self._reserve(count)
        cdef int place
        for place in range(count - 1, -1, -1):
            out[place] = c"0" + value % 10
            value //= 10
        self._size += count
        return 0


cdef bint is_utf8(const uint8_t *text, Py_ssize_t size) noexcept:
    """RFC 3629: no surrogates, nothing longer than it need be, nothing beyond U+10FFFF."""
    cdef Py_ssize_t place = 0, more, step
    cdef uint8_t first, lowest, highest
    while place < size:
        first = text[place]
        place += 1
        if first < 0x80:
            continue
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if first < 0xC2 or first > 0xF4 or more > size - place:
            return False
        lowest = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        highest = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if not lowest <= text[place] <= highest:
            return False
        for step in range(1, more):
            if not 0x80 <= text[place + step] <= 0xBF:
                return False
        place += more
    return True


cdef inline uint64_t _has_escapes(uint64_t word) noexcept:
    """Whether one of eight bytes is below 0x20, a quote or a backslash
    (graphics.stanford.edu/~seander/bithacks.html, "Determine if a word has a byte less than n").
    """
    cdef uint64_t quotes = word ^ <uint64_t> 0x2222222222222222
    cdef uint64_t backslashes = word ^ <uint64_t> 0x5C5C5C5C5C5C5C5C
    return (
        ((word - <uint64_t> 0x2020202020202020) & ~word)
        | ((quotes - <uint64_t> 0x0101010101010101) & ~quotes)
        | ((backslashes - <uint64_t> 0x0101010101010101) & ~backslashes)
    ) & <uint64_t> 0x8080808080808080
