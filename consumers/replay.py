"""Dead letters read again: to be looked at, or published once more (contract 1.6)."""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumers.cluster import find_topics, to_client_options
from consumers.dead_letters import (
    CODE_HEADER,
    EVENT_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    ORGANIZATION_HEADER,
    PARTITION_HEADER,
    TOPIC_HEADER,
    DeadLetterProducer,
    Letter,
    to_original_headers,
    to_text,
)
from consumers.reading import Consumer
from consumers.records import ATTEMPT_HEADER, to_attempt
from service.errors import StartError
from service.settings import MEBIBYTE, KafkaSettings

log = logging.getLogger(__name__)

# A dead letter may have 13 MiB, and a replay runs beside the consumer, in its container.
_MAX_TOGETHER_RECORDS = 200
_MAX_TOGETHER_BYTES = 4 * 1024 * 1024
_POLL_MILLISECONDS = 500
# A letter holds a record of a batch that was unpacked, and what was too much for that it holds packed.
_MAX_LETTERS_BYTES = 2048 * MEBIBYTE

Digest = bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; None means any."""

    code: str | None = None
    organization_id: str | None = None

    def holds(self, record: ConsumerRecord) -> bool:
        wanted = {CODE_HEADER: self.code, ORGANIZATION_HEADER: self.organization_id}
        return all(
            text is None or to_text(record, header) == text for header, text in wanted.items()
        )


@dataclass(slots=True)
class Plan:
    """Each distinct record (topic, key, value), with the highest attempt that a dead letter of it
    has seen. `lost` counts those that do not say which existing topic they are from, `bare` those
    that hold no value, since the dead-letter topic refused it, and `packed` those that hold a batch
    which was too large to be unpacked."""

    attempts: dict[Digest, int]
    lost: int = 0
    bare: int = 0
    packed: int = 0


@dataclass(slots=True)
class Replay:
    """What became of a plan: `refused` describes dead letters that their own topics do not take,
    `gone` counts those that the dead-letter topic does not hold any more."""

    published: int = 0
    refused: list[str] = field(default_factory=list)
    gone: int = 0


async def find_dead_letters(
    kafka: KafkaSettings, selection: Selection
) -> AsyncIterator[ConsumerRecord]:
    """From the beginning of the dead-letter topic to where it ended at the start."""
    async with _reader(kafka) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        await consumer.seek_to_beginning()
        while await _is_before(consumer, ends):
            fetched = await consumer.getmany(
                timeout_ms=_POLL_MILLISECONDS, max_records=_MAX_TOGETHER_RECORDS
            )
            _pass_over_damage(consumer)
            for partition, records in fetched.items():
                for record in records:
                    if record.offset < ends[partition] and selection.holds(record):
                        yield record


def _pass_over_damage(consumer: Consumer) -> None:
    """Raises `KafkaError` where a partition cannot be read, and nobody knows what to pass over."""
    for partition, fault in list(consumer.faults.items()):
        where = f"{partition.topic}[{partition.partition}]@{fault.offset}"
        if fault.next_offset is None:
            raise KafkaError(f"{where}: {fault.reason}")
        log.warning("passed over %s: %s", where, fault.reason)
        consumer.seek(partition, fault.next_offset)
        consumer.retry(partition)


async def get_dead_letter(
    kafka: KafkaSettings, topic: str, partition: int, offset: int
) -> ConsumerRecord | None:
    """The newest letter about the record that lay there."""
    found = None
    async for record in find_dead_letters(kafka, Selection()):
        place = [to_text(record, name) for name in (TOPIC_HEADER, PARTITION_HEADER, OFFSET_HEADER)]
        if place == [topic, str(partition), str(offset)]:
            found = record
    return found


async def plan_replay(kafka: KafkaSettings, selection: Selection) -> Plan:
    """What a replay would publish."""
    known = await find_topics(kafka) - {kafka.dead_letter_topic}
    plan = Plan({})
    async for record in find_dead_letters(kafka, selection):
        if to_text(record, TOPIC_HEADER) not in known:
            plan.lost += 1
            continue
        if record.value is None:
            plan.bare += 1
            continue
        if to_text(record, CODE_HEADER) == "batch_too_large":
            plan.packed += 1
            continue
        digest = to_digest(record)
        plan.attempts[digest] = max(plan.attempts.get(digest, 1), to_attempt(record))
    return plan


async def replay(
    kafka: KafkaSettings,
    selection: Selection,
    plan: Plan,
    done: Replay,
    on_progress: Callable[[int], None],
) -> None:
    """Publish every record of the plan once to its own topic, as it first came but for its
    attempt. Safe to stop and to repeat. Raises `KafkaError`; `done` says how far it came."""
    due = dict(plan.attempts)
    letters: list[Letter] = []

    async def publish() -> None:
        for letter, fault in zip(letters, await producer.try_each(letters), strict=True):
            if fault is not None and not fault.retriable:
                # Records travel together: perhaps it was only another one that was refused.
                (fault,) = await producer.try_each([letter])
            if fault is None:
                done.published += 1
            elif fault.retriable:
                raise fault
            else:
                done.refused.append(f"{describe(letter.record)}  {type(fault).__name__}")
        on_progress(len(letters))
        letters.clear()

    async with DeadLetterProducer(kafka) as producer:
        async for record in find_dead_letters(kafka, selection):
            attempt = due.pop(to_digest(record), None)
            if attempt is not None:
                letters.append(_to_letter(record, attempt))
                if _is_enough(letters):
                    await publish()
        await publish()
    done.gone = len(due)


def _is_enough(letters: Sequence[Letter]) -> bool:
    size = sum(len(letter.record.value or b"") for letter in letters)
    return len(letters) >= _MAX_TOGETHER_RECORDS or size >= _MAX_TOGETHER_BYTES


def to_digest(record: ConsumerRecord) -> Digest:
    """What makes a record distinct: topic, key and value."""
    digest = hashlib.sha256()
    for part in ((to_text(record, TOPIC_HEADER) or "").encode(), record.key, record.value):
        digest.update(b"-" if part is None else b"%d:" % len(part))
        digest.update(part or b"")
    return digest.digest()


def describe(record: ConsumerRecord) -> str:
    """One line: when, why, where from, whose, how often. Nothing of the record's content, and
    nothing that a terminal would obey."""
    topic, partition, offset, code, organization, event, message = (
        to_text(record, header) or "-"
        for header in (
            TOPIC_HEADER,
            PARTITION_HEADER,
            OFFSET_HEADER,
            CODE_HEADER,
            ORGANIZATION_HEADER,
            EVENT_HEADER,
            MESSAGE_HEADER,
        )
    )
    where, attempt = f"{topic}[{partition}]@{offset}", f"attempt {to_attempt(record)}"
    at = tell_time(record.timestamp)
    return printable(f"{at}  {code:21}  {where}  {organization}  {event}  {attempt}  {message}")


def printable(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def tell_time(milliseconds: int) -> str:
    """A producer may give its records any time, or none."""
    if milliseconds < 0:
        return "-"
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"


def _to_letter(record: ConsumerRecord, attempt: int) -> Letter:
    headers = [*to_original_headers(record), (ATTEMPT_HEADER, str(attempt).encode())]
    return Letter(to_text(record, TOPIC_HEADER) or "", record, headers)


@asynccontextmanager
async def _reader(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the whole dead-letter topic, outside any group. Raises `StartError`."""
    topic = kafka.dead_letter_topic
    if topic not in await find_topics(kafka):
        raise StartError(f"ACTIVITY_KAFKA_DEAD_LETTER_TOPIC: there is no topic {topic}")
    consumer = Consumer(
        topic,
        **to_client_options(kafka),
        max_unpacked_bytes=_MAX_LETTERS_BYTES,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def _is_before(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    positions = [(await consumer.position(partition), end) for partition, end in ends.items()]
    return any(position < end for position, end in positions)
