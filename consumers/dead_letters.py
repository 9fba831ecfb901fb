"""Records that can never be applied, set aside with their reason (contract 1.6)."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from consumers.batch import Refusal
from consumers.cluster import to_client_options
from consumers.deadlines import within
from consumers.reading import PackedBatch
from consumers.records import ATTEMPT_HEADER, to_attempt, to_first_offset
from consumers.refusals import is_refusal
from service.errors import Rejected
from service.settings import KafkaSettings

Headers = list[tuple[str, bytes]]

TOPIC_HEADER = "__connect.errors.topic"
PARTITION_HEADER = "__connect.errors.partition"
OFFSET_HEADER = "__connect.errors.offset"
STAGE_HEADER = "__connect.errors.stage"
CLASS_HEADER = "__connect.errors.exception.class.name"
MESSAGE_HEADER = "__connect.errors.exception.message"
CODE_HEADER = "activity.error.code"
ORGANIZATION_HEADER = "activity.organization_id"
EVENT_HEADER = "activity.event_id"
RECORDS_HEADER = "activity.batch.records"
ADDED_HEADERS = frozenset(
    {
        TOPIC_HEADER,
        PARTITION_HEADER,
        OFFSET_HEADER,
        STAGE_HEADER,
        CLASS_HEADER,
        MESSAGE_HEADER,
        CODE_HEADER,
        ORGANIZATION_HEADER,
        EVENT_HEADER,
        RECORDS_HEADER,
        ATTEMPT_HEADER,
    }
)
# A limit of the client alone, over what any broker takes: the broker's own limit is what counts.
_MAX_REQUEST_BYTES = 1 << 30
_REQUEST_TIMEOUT_SECONDS = 10
_CLOSE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Letter:
    """A record's key and value on their way to `topic`, under these headers. Its time is when it is
    sent, unless one is given."""

    topic: str
    record: ConsumerRecord
    headers: Headers
    timestamp_ms: int | None = None

    @property
    def key(self) -> bytes | None:
        key: bytes | None = self.record.key
        return key

    @property
    def value(self) -> bytes | None:
        value: bytes | None = self.record.value
        return value


class DeadLetterProducer:
    """Publishes records, one call at a time; on return all replicas in sync have them.

    After a failure the next call begins with a fresh producer.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await within(_CLOSE_SECONDS, self._discard())

    async def try_each(self, letters: Sequence[Letter]) -> list[KafkaError | None]:
        """Why each of these was not acknowledged in time, None where it was.

        Raises `KafkaError` where there is nobody to send to.
        """
        async with self._lock:
            try:
                producer = await self._get()
                acknowledgements = [
                    await producer.send(
                        letter.topic,
                        key=letter.key,
                        value=letter.value,
                        headers=letter.headers,
                        timestamp_ms=letter.timestamp_ms,
                    )
                    for letter in letters
                ]
                faults = [await fault_of(one) for one in acknowledgements]
            except KafkaError:
                await self._discard()
                raise
            if any(fault and not is_refusal(fault) for fault in faults):
                await self._discard()
            return faults

    async def _get(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = new_producer(self._settings)
            try:
                await producer.start()
            except BaseException:
                # Also when cancelled: half started, it would let every later call wait for ever.
                await within(_CLOSE_SECONDS, producer.stop())
                raise
            self._producer = producer
        return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def fault_of(acknowledgement: Awaitable[RecordMetadata]) -> KafkaError | None:
    """Why Kafka has not taken a record; None where it has."""
    try:
        await acknowledgement
    except KafkaError as error:
        return error
    return None


def to_letter(refusal: Refusal, topic: str) -> Letter:
    """The dead letter of a refused record."""
    return Letter(topic, refusal.record, to_headers(refusal))


def to_headers(refusal: Refusal) -> Headers:
    """The record's own headers, and ours that say why; a name of ours that it carries is replaced."""
    record, rejected, packed = refusal.record, refusal.rejected, refusal.record.value
    ours = {
        TOPIC_HEADER: record.topic,
        PARTITION_HEADER: str(record.partition),
        OFFSET_HEADER: str(to_first_offset(record)),
        STAGE_HEADER: "VALUE_CONVERTER",
        CLASS_HEADER: f"{Rejected.__module__}.{Rejected.__qualname__}",
        MESSAGE_HEADER: rejected.message,
        CODE_HEADER: rejected.code,
        ORGANIZATION_HEADER: rejected.organization_id,
        EVENT_HEADER: rejected.event_id,
        RECORDS_HEADER: str(packed.records) if isinstance(packed, PackedBatch) else None,
        ATTEMPT_HEADER: str(to_attempt(record) + 1),
    }
    added = [(name, text.encode()) for name, text in ours.items() if text is not None]
    return [*to_original_headers(record), *added]


def to_original_headers(record: ConsumerRecord) -> Headers:
    return [(name, value) for name, value in record.headers if name not in ADDED_HEADERS]


def to_text(record: ConsumerRecord, header: str) -> str | None:
    """The last header of that name, as text."""
    for name, value in reversed(record.headers):
        if name == header and value is not None:
            return bytes(value).decode(errors="replace")
    return None


def new_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """Compressed, so that what came compressed fits into its topic again. Not idempotent: such a
    producer never gives up, and an outage could neither be told nor a shutdown come to its end."""
    return AIOKafkaProducer(
        **to_client_options(settings),
        acks="all",
        compression_type="zstd",
        max_request_size=_MAX_REQUEST_BYTES,
        request_timeout_ms=_REQUEST_TIMEOUT_SECONDS * 1000,
    )
