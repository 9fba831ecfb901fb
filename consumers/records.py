"""A Kafka record to what is to be done with it."""

from aiokafka import ConsumerRecord

from consumers.reading import PackedBatch
from service.activities.events import IGNORED, Ignored, parse_event
from service.errors import Rejected
from service.store.writes import EncodedChange, encode_change

ATTEMPT_HEADER = "activity.attempt"
MAX_ATTEMPT = 1000
# Of a longer one the parsing may take longer than the event loop can be held.
LONG_BYTES = 256 * 1024


def parse_record(record: ConsumerRecord, max_bytes: int) -> EncodedChange | Ignored | Rejected:
    """The outcome of one record. What is wrong with it is an answer here, not an exception: a bad
    record hurts nobody else (contract 1.5.4)."""
    return parse_value(record.value, max_bytes)


def parse_value(value: bytes | None, max_bytes: int) -> EncodedChange | Ignored | Rejected:
    """The outcome of the value of a record."""
    if value is None:
        return IGNORED
    if isinstance(value, PackedBatch):
        return Rejected(
            "batch_too_large",
            f"{value.records} records in {len(value)} bytes would unpack to more than"
            " ACTIVITY_MAX_UNPACKED_BYTES",
        )
    if len(value) > max_bytes:
        return Rejected(
            "too_large",
            f"the record has {len(value)} bytes, more than ACTIVITY_MAX_RECORD_BYTES={max_bytes}",
        )
    try:
        change = parse_event(value)
        return change if isinstance(change, Ignored) else encode_change(change)
    except Rejected as rejected:
        return rejected


def is_long(record: ConsumerRecord) -> bool:
    return len(record.value or b"") > LONG_BYTES


def is_replayed(record: ConsumerRecord) -> bool:
    """Whether the record was a dead letter before."""
    return bool(record.headers) and to_attempt(record) > 0


def to_attempt(record: ConsumerRecord) -> int:
    """How often the record was a dead letter before; 0 where it does not say so properly."""
    for name, value in reversed(record.headers):
        if name == ATTEMPT_HEADER:
            return _to_count(value or b"")
    return 0


def _to_count(value: bytes) -> int:
    if not (value.isdigit() and len(value) <= len(str(MAX_ATTEMPT))):
        return 0
    count = int(value)
    return count if 1 <= count <= MAX_ATTEMPT else 0


def to_first_offset(record: ConsumerRecord) -> int:
    """Where the record lies; of a batch that was not unpacked, where its first one does."""
    value, offset = record.value, record.offset
    return value.first_offset if isinstance(value, PackedBatch) else int(offset)


def to_size(record: ConsumerRecord) -> int:
    """How many bytes the record holds in memory, headers included."""
    size = len(record.key or b"") + len(record.value or b"")
    if not record.headers:
        return size
    return size + sum([len(name) + len(value or b"") for name, value in record.headers])
