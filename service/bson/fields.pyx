# cython: language_level=3
"""Some fields of a document, taken from its BSON: all others are passed over and never decoded.

A thread shows a third of each of its emails: to decode whole ones took a seventh of a consumer's
time. What is neither a kind that JSON has nor a date, `bson` decodes.
"""

import bson

cimport cython
from cpython.datetime cimport datetime, datetime_new, import_datetime, timedelta_new
from cpython.dict cimport PyDict_SetItem
from cpython.mem cimport PyMem_Free
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp

from service.bson.encoding import encode

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
    skip,
    take,
    take_double,
    take_int32,
    take_int64,
    take_name,
    take_string,
)
from service.bson.writing cimport Buffer, begin, end, put_all

import_datetime()

cdef enum:
    MAX_FIELDS = 32
    MAX_SIZE = 64  # bytes of a name, at which it is too long
    NONE = -1
    MAX_LEVELS = 200
    DAY = 86_400_000  # milliseconds
    SIZE_SIZE = 4  # before the elements of a document stands its size

cdef datetime EPOCH = datetime_new(1970, 1, 1, 0, 0, 0, 0, None)

cdef struct _Name:
    const uint8_t *text
    Py_ssize_t next  # place of another of that size

cdef struct _Element:
    const uint8_t *begin  # its kind; NULL where a document has no such field
    Reader value


@cython.final
cdef class Fields:
    """The fields of these names, 32 at most of less than 64 bytes; `a.b` is the field `b`, and no
    other, of a document `a`.

    Of equal names in a document the last counts. `lists` are those that are an empty list, and not
    null, where a copy fills them.
    """

    cdef tuple _names
    cdef tuple _encoded_names
    cdef _Name[MAX_FIELDS] _table
    cdef Py_ssize_t[MAX_SIZE] _first  # place of a name of that size
    cdef Py_ssize_t _count
    cdef tuple _inner
    cdef dict _filled
    cdef tuple _fillings

    def __cinit__(self, names, *, lists=()):
        cdef Py_ssize_t place, size
        cdef dict inner = {}
        for name in names:
            outer, _, rest = name.partition(".")
            inner.setdefault(outer, []).extend([rest] if rest else [])
        self._names, self._count = tuple(inner), len(inner)
        if self._count > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS} fields")
        self._encoded_names = tuple([name.encode() for name in self._names])
        for size in range(MAX_SIZE):
            self._first[size] = NONE
        for place, name in enumerate(self._encoded_names):
            size = len(name)
            if size >= MAX_SIZE:
                raise ValueError(f"a name of {size} bytes")
            self._table[place].text, self._table[place].next = <bytes> name, self._first[size]
            self._first[size] = place
        self._inner = tuple([Fields(rest) if rest else None for rest in inner.values()])
        self._filled = {name: [] if name in lists else None for name in self._names}
        self._fillings = tuple([encode({name: self._filled[name]}) for name in self._names])

    def decode(self, bytes document not None, into=None):
        """Those that the document has, as `bson.decode` decodes them, put into the dict `into` or
        into a new one."""
        cdef Reader reader
        fields = {} if into is None else into
        reader.place = document
        reader.end = reader.place + len(document)
        try:
            self._decode(&reader, fields)
        except (ValueError, OverflowError):
            fields.update(self._select(bson.decode(document)))
        return fields

    def copy(self, bytes document not None, bytes more not None):
        """The BSON of a document of all of them, in their order, and of `more`, BSON too, behind
        them. What `document` lacks or has as null is filled in. Raises `ValueError` where `more` is
        no document."""
        cdef _Element[MAX_FIELDS] found
        cdef Reader reader
        _require_document(more)
        reader.place = document
        reader.end = reader.place + len(document)
        try:
            self._find(&reader, found)
        except ValueError:
            present = {key: one for key, one in self.decode(document).items() if one is not None}
            return encode(self._filled | present | bson.decode(more))
        return self._copy(found, more)

    cdef bytes _copy(self, _Element *found, bytes more):
        cdef Buffer buffer
        cdef Py_ssize_t place, begun
        buffer.start, buffer.size, buffer.room = NULL, 0, 0
        try:
            begun = begin(&buffer)
            for place in range(self._count):
                if found[place].begin is NULL or found[place].begin[0] == NULL_VALUE:
                    _put_elements(&buffer, self._fillings[place])
                else:
                    put_all(
                        &buffer, found[place].begin, found[place].value.end - found[place].begin
                    )
            _put_elements(&buffer, more)
            end(&buffer, begun)
            return buffer.start[: buffer.size]
        finally:
            PyMem_Free(buffer.start)

    cdef int _decode(self, Reader *reader, object fields) except -1:
        cdef _Element[MAX_FIELDS] found
        cdef Py_ssize_t place
        cdef Reader value
        cdef object one
        self._find(reader, found)
        for place in range(self._count):
            if found[place].begin is NULL:
                continue
            inner, value = self._inner[place], found[place].value
            if inner is None or found[place].begin[0] != DOCUMENT:
                one = _decode(&value, found[place].begin[0], 1)
            else:
                one = {}
                (<Fields> inner)._decode(&value, one)
            PyDict_SetItem(fields, self._names[place], one)
        return 0

    def _select(self, document):
        return {
            name: document[name] if inner is None or not isinstance(document[name], dict)
            else (<Fields> inner)._select(document[name])
            for name, inner in zip(self._names, self._inner, strict=True)
            if name in document
        }

    cdef int _find(self, Reader *reader, _Element *found) except -1:
        """Where each of them stands in the document that begins here. Raises `ValueError` for a
        value of another kind than those in `kinds`, wherever it is, and for what is no document."""
        cdef Reader inner
        cdef Py_ssize_t place, size
        cdef const uint8_t *kind
        cdef const uint8_t *name
        for place in range(self._count):
            found[place].begin = NULL
        enter(reader, &inner)
        if reader.place != reader.end:
            raise ValueError("bytes behind a document")
        while inner.place < inner.end:
            kind = take(&inner, 1)
            name = take_name(&inner, &size)
            place = self._place_of(name, size)
            if place != NONE:
                found[place].begin, found[place].value.place = kind, inner.place
            skip(&inner, kind[0])
            if place != NONE:
                found[place].value.end = inner.place
        return 0

    cdef inline Py_ssize_t _place_of(self, const uint8_t *name, Py_ssize_t size) noexcept:
        cdef Py_ssize_t place = self._first[size] if size < MAX_SIZE else NONE
        while place != NONE and memcmp(self._table[place].text, name, size):
            place = self._table[place].next
        return place


cdef object _decode(Reader *reader, uint8_t kind, int level):
    """A value of a document of this level, the outermost being the first. Deeper than `MAX_LEVELS`,
    beyond what MongoDB stores, `bson` decides: here each level takes some of the C stack."""
    cdef const uint8_t *text
    cdef Py_ssize_t size
    if kind == STRING:
        text = take_string(reader, &size)
        return PyUnicode_DecodeUTF8(<const char *> text, size, NULL)
    if kind == NULL_VALUE:
        return None
    if kind == BOOLEAN:
        return take(reader, 1)[0] != 0
    if kind == INT32:
        return take_int32(reader)
    if kind == INT64:
        return take_int64(reader)
    if kind == DOUBLE:
        return take_double(reader)
    if kind == DATETIME:
        return _to_datetime(take_int64(reader))
    if kind == DOCUMENT:
        return _decode_document(reader, level + 1)
    if kind == ARRAY:
        return _decode_array(reader, level + 1)
    raise ValueError("left to `bson`")


cdef dict _decode_document(Reader *reader, int level):
    cdef Reader inner
    cdef const uint8_t *name
    cdef uint8_t kind
    cdef Py_ssize_t size
    cdef dict document = {}
    _require_level(level)
    enter(reader, &inner)
    while inner.place < inner.end:
        kind = take(&inner, 1)[0]
        name = take_name(&inner, &size)
        key = PyUnicode_DecodeUTF8(<const char *> name, size, NULL)
        document[key] = _decode(&inner, kind, level)
    return document


cdef list _decode_array(Reader *reader, int level):
    cdef Reader inner
    cdef uint8_t kind
    cdef Py_ssize_t size
    cdef list values = []
    _require_level(level)
    enter(reader, &inner)
    while inner.place < inner.end:
        kind = take(&inner, 1)[0]
        take_name(&inner, &size)
        values.append(_decode(&inner, kind, level))
    return values


cdef inline int _require_level(int level) except -1:
    if level > MAX_LEVELS:
        raise ValueError("documents in documents, too many of them")
    return 0


cdef int _require_document(bytes document) except -1:
    cdef Reader reader, inner
    reader.place = document
    reader.end = reader.place + len(document)
    enter(&reader, &inner)
    if reader.place != reader.end:
        raise ValueError("bytes behind a document")
    return 0


cdef datetime _to_datetime(int64_t milliseconds):
    if not is_date(milliseconds):
        raise ValueError("a date that is not within the years 1 to 9999")
    cdef int64_t rest = milliseconds % DAY
    return EPOCH + timedelta_new(milliseconds // DAY, rest // 1000, rest % 1000 * 1000)


cdef int _put_elements(Buffer *buffer, bytes document) except -1:
    """Without what stands around them."""
    cdef const uint8_t *start = document
    return put_all(buffer, start + SIZE_SIZE, len(document) - SIZE_SIZE - 1)
