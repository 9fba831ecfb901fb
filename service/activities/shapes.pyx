# cython: language_level=3
"""What surely fits a schema of `pydantic_core`, in strict mode.

A look that builds nothing, through the fields that are there and not those that there could be.
What it does not pass may fit all the same.
"""

cimport cython
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t

cdef extern from "Python.h":  # which `cpython.unicode` lacks
    bint PyUnicode_IS_ASCII(object text)


cdef class Shape:
    """Whatever there is."""

    def fits(self, value):
        return self._fits(value)

    cdef bint _fits(self, object value) except -1:
        return True


@cython.final
cdef class Nothing(Shape):
    cdef bint _fits(self, object value) except -1:
        return False


@cython.final
cdef class Exactly(Shape):
    """A value of this type, not of a derived one."""

    cdef type _type

    def __cinit__(self, type type_ not None):
        self._type = type_

    cdef bint _fits(self, object value) except -1:
        return type(value) is self._type


@cython.final
cdef class Word(Shape):
    """One of these texts."""

    cdef frozenset _words

    def __cinit__(self, words):
        self._words = frozenset(words)

    cdef bint _fits(self, object value) except -1:
        return type(value) is str and value in self._words


@cython.final
cdef class Characters(Shape):
    """A text of these ASCII characters, one of them up to `at_most`."""

    cdef bint[128] _allowed
    cdef Py_ssize_t _at_most

    def __cinit__(self, allowed, Py_ssize_t at_most):
        for char in range(128):
            self._allowed[char] = chr(char) in allowed
        self._at_most = at_most

    cdef bint _fits(self, object value) except -1:
        cdef const uint8_t *text
        cdef Py_ssize_t size, place
        if type(value) is not str or not PyUnicode_IS_ASCII(value):
            return False
        text = <const uint8_t *> PyUnicode_1BYTE_DATA(value)
        size = PyUnicode_GET_LENGTH(value)
        if not 1 <= size <= self._at_most:
            return False
        for place in range(size):
            if not self._allowed[text[place]]:
                return False
        return True


@cython.final
cdef class Text(Shape):
    """A text for which `matches` returns something true."""

    cdef object _matches

    def __cinit__(self, matches):
        self._matches = matches

    cdef bint _fits(self, object value) except -1:
        return type(value) is str and self._matches(value)


cdef class _Of(Shape):
    """Made of another."""

    cdef Shape _shape

    def __cinit__(self, Shape shape not None):
        self._shape = shape


@cython.final
cdef class Nullable(_Of):
    cdef bint _fits(self, object value) except -1:
        return value is None or self._shape._fits(value)


@cython.final
cdef class AnyOf(Shape):
    cdef tuple _shapes

    def __cinit__(self, shapes):
        self._shapes = tuple([<Shape?> shape for shape in shapes])

    cdef bint _fits(self, object value) except -1:
        for shape in self._shapes:
            if (<Shape> shape)._fits(value):
                return True
        return False


@cython.final
cdef class Items(_Of):
    """A list of such values."""

    cdef bint _fits(self, object value) except -1:
        if type(value) is not list:
            return False
        for item in <list> value:
            if not self._shape._fits(item):
                return False
        return True


@cython.final
cdef class Values(_Of):
    """An object whose fields, whatever their names, fit."""

    cdef bint _fits(self, object value) except -1:
        if type(value) is not dict:
            return False
        for one in (<dict> value).values():
            if not self._shape._fits(one):
                return False
        return True


@cython.final
cdef class Fields(Shape):
    """An object whose fields of these names fit; the others may be anything."""

    cdef dict _shapes
    cdef tuple _required

    def __cinit__(self, shapes, *, required):
        self._shapes = {name: <Shape?> shape for name, shape in shapes.items()}
        self._required = tuple(required)

    cdef bint _fits(self, object value) except -1:
        if type(value) is not dict:
            return False
        for name in self._required:
            if name not in <dict> value:
                return False
        for name, one in (<dict> value).items():
            shape = self._shapes.get(name)
            if shape is not None and not (<Shape> shape)._fits(one):
                return False
        return True
