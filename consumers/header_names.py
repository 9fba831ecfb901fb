"""Header names that are no UTF-8.

Kafka's protocol wants UTF-8 there and no broker looks, so a producer may get one in. aiokafka
decodes names while it fetches, and raises: one such record would stop its partition for ever
(contract 1.5.4). It has no setting for that, hence this, which reads such a batch.
"""

from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy


class PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    """A batch that is not compressed. The bytes of a name that are no UTF-8 are read as `\\xe9`."""

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
