"""Header names that are no UTF-8.

Kafka's protocol wants UTF-8 there and no broker looks, so a producer may get one in. aiokafka
decodes names while it fetches, and raises: one such record would stop its partition for ever
(contract 1.5.4). It has no setting for that, hence this: in front of its reader, for all of the
process.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

# Of a batch as it is fetched: its first offset, then the bytes that follow.
_LENGTH_START, _LENGTH_END = 8, 12


def read_any_header_name() -> None:
    """From now on the bytes of a name that are no UTF-8 are read as `\\xe9`. Safe to repeat."""
    fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """The batches of one fetched partition."""

    def __init__(self, fetched: bytes) -> None:
        self._records: Any = MemoryRecords(fetched)
        self._rest = memoryview(fetched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> "TolerantBatch":
        length = int.from_bytes(self._rest[_LENGTH_START:_LENGTH_END], "big")
        batch, self._rest = self._rest[: _LENGTH_END + length], self._rest[_LENGTH_END + length :]
        return TolerantBatch(self._records.next_batch(), batch)


class TolerantBatch:
    """One batch: read as fast as aiokafka can, and patiently from the first bad name on."""

    def __init__(self, batch: Any, fetched: memoryview) -> None:
        self._batch = batch
        self._fetched = fetched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_PatientBatch(self._fetched), read, None)


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        return _Text(part) if isinstance(key, slice) else part


class _Text(bytes):
    def decode(self, encoding: str = "utf-8", _: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
