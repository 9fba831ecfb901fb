"""What the topics still hold, read outside any group."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumers.cluster import to_client_options
from consumers.reading import Consumer
from service.settings import MEBIBYTE, KafkaSettings

_POLL_MILLISECONDS = 500
_MAX_UNPACKED_BYTES = 64 * MEBIBYTE

Offsets = Mapping[TopicPartition, int]


@asynccontextmanager
async def reading(kafka: KafkaSettings) -> AsyncIterator[Consumer]:
    """A consumer outside any group. Raises `KafkaError`."""
    consumer = Consumer(
        **to_client_options(kafka),
        max_unpacked_bytes=_MAX_UNPACKED_BYTES,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def find_partitions(kafka: KafkaSettings, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of those of these topics that are there. Raises `KafkaError`."""
    async with _administration(kafka) as admin:
        described = await admin.describe_topics(list(topics))
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        if not topic["error_code"]
        for partition in topic["partitions"]
    ]


async def find_committed(kafka: KafkaSettings) -> Offsets:
    """The positions of the group, of the partitions that have one. Raises `KafkaError`."""
    async with _administration(kafka) as admin:
        found = await admin.list_consumer_group_offsets(kafka.group_id)
    return {partition: one.offset for partition, one in found.items() if one.offset >= 0}


@asynccontextmanager
async def _administration(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**to_client_options(kafka))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def read_since(
    consumer: Consumer, ends: Offsets, since_ms: int
) -> AsyncIterator[ConsumerRecord]:
    """All records from a time on to `ends`, but for those behind what cannot be read."""
    starts = await consumer.offsets_for_times(dict.fromkeys(ends, since_ms))
    due = {
        partition for partition, found in starts.items() if found and found.offset < ends[partition]
    }
    if due:
        consumer.assign(sorted(due))
    for partition in due:
        consumer.seek(partition, starts[partition].offset)
    while due:
        for partition, records in (await consumer.getmany(timeout_ms=_POLL_MILLISECONDS)).items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
        due -= consumer.faults.keys()
        due = {one for one in due if await consumer.position(one) < ends[one]}
