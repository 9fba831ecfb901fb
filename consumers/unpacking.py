"""Compressed bytes, unpacked within bounds (contract 1.5.8).

A few kilobytes may unpack to gigabytes. Where the codec says how many, that is known before; else it
is found out while unpacking, into a buffer that grows up to the bound.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

_FIRST_BUFFER_BYTES = 32 * 1024
_GUESSED_RATIO = 4
# How snappy is framed in Java: this, two versions of four bytes, then blocks behind their lengths.
_XERIAL_MAGIC, _XERIAL_HEADER_BYTES, _LENGTH_BYTES = b"\x82SNAPPY\x00", 16, 4
_ZSTD_MAGIC, _ZSTD_MAX_HEADER_BYTES = b"\x28\xb5\x2f\xfd", 18
# How cramjam says that the buffer was too small, which only its text does.
_FULL = "failed to write whole buffer"

Into = Callable[[Any, Any], int]


class TooLarge(Exception):
    """It would unpack to more bytes than is allowed."""


def unpack(codec: int, packed: memoryview, max_bytes: int) -> bytes | memoryview:
    """Raises `TooLarge`, and as aiokafka does `CorruptRecordException` or `UnsupportedCodecError`."""
    try:
        match codec:
            case 1:
                return _unpack_into(cramjam.gzip.decompress_into, packed, max_bytes)
            case 2:
                return _unpack_snappy(packed, max_bytes)
            case 3:
                return _unpack_into(cramjam.lz4.decompress_into, packed, max_bytes)
            case 4:
                size = _zstd_size(packed)
                return _unpack_into(cramjam.zstd.decompress_into, packed, max_bytes, size)
    except cramjam.DecompressionError as error:
        raise CorruptRecordException(f"cannot be unpacked: {error}") from error
    raise UnsupportedCodecError(f"unknown compression codec {codec}")


def _unpack_into(
    into: Into, packed: memoryview, max_bytes: int, known: int | None = None
) -> memoryview:
    if known is not None and known > max_bytes:
        raise TooLarge
    guess = max(_FIRST_BUFFER_BYTES, _GUESSED_RATIO * len(packed))
    size = min(guess if known is None else known, max_bytes)
    while True:
        buffer = bytearray(size)
        try:
            return memoryview(buffer)[: into(packed, buffer)]
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
        if size == max_bytes:
            raise TooLarge
        size = min(max(4 * size, _FIRST_BUFFER_BYTES), max_bytes)


def _zstd_size(packed: memoryview) -> int | None:
    """What the first frame says of its content (RFC 8878, 3.1.1.1), which not every one does."""
    if packed[:4] != _ZSTD_MAGIC or len(packed) < _ZSTD_MAX_HEADER_BYTES:
        return None
    descriptor = packed[4]
    flag, is_single, dictionary = descriptor >> 6, descriptor >> 5 & 1, descriptor & 3
    if not flag and not is_single:
        return None
    start = 5 + (not is_single) + (0, 1, 2, 4)[dictionary]
    size = int.from_bytes(packed[start : start + (1, 2, 4, 8)[flag]], "little")
    return size + 256 if flag == 1 else size


def _unpack_snappy(packed: memoryview, max_bytes: int) -> bytes:
    blocks = list(_snappy_blocks(packed))
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > max_bytes:
        raise TooLarge
    return b"".join([bytes(cramjam.snappy.decompress_raw(block)) for block in blocks])


def _snappy_blocks(packed: memoryview) -> Iterator[memoryview]:
    if packed[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        yield packed
        return
    place = _XERIAL_HEADER_BYTES
    while place < len(packed):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(packed[place:start], "big")
        yield packed[start:place]
