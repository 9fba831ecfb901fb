"""A Kafka record to what is to be done with it."""

from aiokafka import ConsumerRecord

from service.activities.events import IGNORED, Change, Ignored, parse_event
from service.errors import Rejected

ATTEMPT_HEADER = "activity.attempt"


def parse_record(record: ConsumerRecord, max_bytes: int) -> Change | Ignored | Rejected:
    """The outcome of one record. What is wrong with it is an answer here, not an exception: a bad
    record hurts nobody else (contract 1.5.4)."""
    value = record.value
    if value is None:
        return IGNORED
    if len(value) > max_bytes:
        return Rejected(
            "too_large",
            f"the record has {len(value)} bytes, more than ACTIVITY_MAX_RECORD_BYTES={max_bytes}",
        )
    try:
        return parse_event(value)
    except Rejected as rejected:
        return rejected


def is_replayed(record: ConsumerRecord) -> bool:
    """Whether the record was a dead letter before."""
    return any(name == ATTEMPT_HEADER for name, _ in record.headers)
