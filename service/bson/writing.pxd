"""A buffer that BSON is written to, and grows. (Numbers are written as the machine has them:
little-endian, as in BSON.)"""

from cpython.mem cimport PyMem_Realloc
from libc.stdint cimport INT32_MAX, int32_t, uint8_t
from libc.string cimport memcpy

cdef enum:
    FIRST_ROOM = 4096


cdef struct Buffer:
    uint8_t *start
    Py_ssize_t size
    Py_ssize_t room


cdef inline int grow(Buffer *buffer, Py_ssize_t size) except -1:
    cdef Py_ssize_t room = max(2 * buffer.room, buffer.size + size, FIRST_ROOM)
    cdef void *start = PyMem_Realloc(buffer.start, room)
    if start is NULL:
        raise MemoryError
    buffer.start, buffer.room = <uint8_t *> start, room
    return 0


cdef inline uint8_t *extend(Buffer *buffer, Py_ssize_t size) except NULL:
    """Where so many more bytes are to be written; until the buffer is extended again."""
    if buffer.room - buffer.size < size:
        grow(buffer, size)
    buffer.size += size
    return buffer.start + buffer.size - size


cdef inline uint8_t *put_head(
    Buffer *buffer, uint8_t kind, const void *name, Py_ssize_t name_size, Py_ssize_t value_size
) except NULL:
    """Kind and name of a value; returns where the value is to be written."""
    cdef uint8_t *place = extend(buffer, name_size + 2 + value_size)
    place[0] = kind
    memcpy(place + 1, name, name_size)
    place[name_size + 1] = 0
    return place + name_size + 2


cdef inline int put_all(Buffer *buffer, const void *source, Py_ssize_t size) except -1:
    memcpy(extend(buffer, size), source, size)
    return 0


cdef inline Py_ssize_t begin(Buffer *buffer) except -1:
    """Leave room for a document's size; returns where."""
    extend(buffer, sizeof(int32_t))
    return buffer.size - sizeof(int32_t)


cdef inline int end(Buffer *buffer, Py_ssize_t begun) except -1:
    """The document that began there ends here. Raises `ValueError` beyond 2 GiB."""
    cdef int32_t size
    extend(buffer, 1)[0] = 0
    if buffer.size - begun > INT32_MAX:
        raise ValueError("a document beyond 2 GiB")
    size = buffer.size - begun
    memcpy(buffer.start + begun, &size, sizeof(size))
    return 0
