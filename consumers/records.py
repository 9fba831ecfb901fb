"""A Kafka record to what is to be done with it."""

from aiokafka import ConsumerRecord

from service.activities.events import IGNORED, Ignored, parse_event
from service.errors import Rejected
from service.store.writes import EncodedChange, encode_change

ATTEMPT_HEADER = "activity.attempt"
MAX_ATTEMPT = 1000


def parse_record(record: ConsumerRecord, max_bytes: int) -> EncodedChange | Ignored | Rejected:
    """The outcome of one record. What is wrong with it is an answer here, not an exception: a bad
    record hurts nobody else (contract 1.5.4)."""
    return parse_value(record.value, max_bytes)


def parse_value(value: bytes | None, max_bytes: int) -> EncodedChange | Ignored | Rejected:
    """The outcome of the value of a record."""
    if value is None:
        return IGNORED
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
