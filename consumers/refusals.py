"""What a topic does not take for good: repeating it would not help (contract 1.6)."""

from typing import TypeGuard

from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
    kafka_errors,
)

from service.observability import DEAD_LETTERS_WITHOUT_VALUE


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """Where the topic is compacted: a record without a key. aiokafka does not know the code, and
    would call it an unknown error of the broker."""

    errno = 87
    message = "INVALID_RECORD"


kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

REFUSALS = (
    InvalidRecordError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
for _refusal in REFUSALS:
    # From 0 on, or Prometheus would not see the first one as a rise.
    DEAD_LETTERS_WITHOUT_VALUE.labels(_refusal.__name__)


def is_refusal(fault: KafkaError | None) -> TypeGuard[KafkaError]:
    """Whether it is the record that the broker does not take."""
    return isinstance(fault, REFUSALS)
