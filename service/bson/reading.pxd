"""BSON read value by value. Whatever stands in the bytes, nothing is read beyond their end: that is
a `ValueError`. (Numbers are read as the machine has them: little-endian, as in BSON.)"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memchr, memcmp, memcpy

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
    TIMESTAMP,
)

cdef enum:
    MIN_DOCUMENT_SIZE = 5


cdef struct Reader:
    const uint8_t *place
    const uint8_t *end


cdef inline const uint8_t *take(Reader *reader, Py_ssize_t size) except NULL:
    cdef const uint8_t *taken = reader.place
    if size > reader.end - taken:
        raise ValueError("BSON that ends too early")
    reader.place = taken + size
    return taken


cdef inline int32_t take_int32(Reader *reader) except? -1:
    cdef int32_t value
    memcpy(&value, take(reader, sizeof(value)), sizeof(value))
    return value


cdef inline int64_t take_int64(Reader *reader) except? -1:
    cdef int64_t value
    memcpy(&value, take(reader, sizeof(value)), sizeof(value))
    return value


cdef inline double take_double(Reader *reader) except? -1:
    cdef double value
    memcpy(&value, take(reader, sizeof(value)), sizeof(value))
    return value


cdef inline const uint8_t *take_string(Reader *reader, Py_ssize_t *size) except NULL:
    """Its bytes and their number, without the NUL behind them."""
    cdef int32_t with_nul = take_int32(reader)
    if with_nul < 1:
        raise ValueError("a text of a size below 1")
    size[0] = with_nul - 1
    return take(reader, with_nul)


cdef inline const uint8_t *take_name(Reader *reader, Py_ssize_t *size) except NULL:
    cdef const uint8_t *name = reader.place
    cdef const uint8_t *nul = <const uint8_t *> memchr(name, 0, reader.end - name)
    if nul is NULL:
        raise ValueError("BSON that ends too early")
    size[0] = nul - name
    reader.place = nul + 1
    return name


cdef inline int enter(Reader *reader, Reader *inner) except -1:
    """`inner` reads what is in the document that begins here, `reader` what stands behind it."""
    cdef const uint8_t *begin = reader.place
    cdef int32_t size = take_int32(reader)
    if size < MIN_DOCUMENT_SIZE or reader.end - begin < size or begin[size - 1] != 0:
        raise ValueError("a document of another size than it says")
    inner.place = reader.place
    inner.end = begin + size - 1
    reader.place = begin + size
    return 0


cdef inline int skip(Reader *reader, uint8_t kind) except -1:
    """Pass over a value. Raises `ValueError` for a kind that is not named in `kinds`."""
    cdef Py_ssize_t size
    cdef Reader inner
    if kind == STRING:
        take_string(reader, &size)
    elif kind == DOCUMENT or kind == ARRAY:
        enter(reader, &inner)
    elif kind == BOOLEAN:
        take(reader, 1)
    elif kind == INT32:
        take(reader, 4)
    elif kind in (DOUBLE, DATETIME, TIMESTAMP, INT64):
        take(reader, 8)
    elif kind != NULL_VALUE:
        raise ValueError(f"a value of kind {kind}")
    return 0


cdef inline bint is_text(const uint8_t *text, Py_ssize_t size, bytes expected) noexcept:
    return size == len(expected) and memcmp(text, <const uint8_t *> expected, size) == 0


cdef inline bint is_date(int64_t milliseconds) noexcept:
    """Whether it is within the years 1 to 9999, which are all that Python and the API have."""
    return -62_135_596_800_000 <= milliseconds < 253_402_300_800_000
