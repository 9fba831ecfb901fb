"""The kinds of values in BSON that JSON has, dates, and what a reply of MongoDB's has besides
(bsonspec.org)."""

cdef enum:
    DOUBLE = 0x01
    STRING = 0x02
    DOCUMENT = 0x03
    ARRAY = 0x04
    BOOLEAN = 0x08
    DATETIME = 0x09
    NULL_VALUE = 0x0A
    INT32 = 0x10
    TIMESTAMP = 0x11
    INT64 = 0x12
