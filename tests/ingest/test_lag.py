"""How far a member is behind, and when that says that its client is dead."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import REGISTRY

from consumers import lag
from consumers.batch import Batch
from consumers.health import Health
from consumers.lag import Lag
from consumers.pipeline import Pipeline
from consumers.positions import Positions
from consumers.reading import Consumer
from service.settings import IngestSettings
from tests.ingest.group import Group, until

STALL_SECONDS = 1.0


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "STALL_SECONDS", STALL_SECONDS)
    monkeypatch.setattr(lag, "INTERVAL_SECONDS", 0.05)


@pytest.fixture
async def partitions(group: Group) -> list[TopicPartition]:
    """Two, of three records each."""
    topic = group.topics.names[0]
    async with group.producer() as producer:
        for partition in (0, 1):
            for _ in range(3):
                await producer.send_and_wait(topic, b"{}", partition=partition)
    return [TopicPartition(topic, partition) for partition in (0, 1)]


@pytest.fixture
async def consumer(group: Group, partitions: list[TopicPartition]) -> AsyncIterator[Consumer]:
    # A broker answers nothing else while it waits for records to fetch.
    consumer = Consumer(
        max_unpacked_bytes=2**26,
        bootstrap_servers=group.topics.bootstrap_servers,
        fetch_max_wait_ms=10,
    )
    await consumer.start()
    consumer.assign(partitions)
    yield consumer
    await consumer.stop()


@pytest.fixture
def pipeline() -> Pipeline:
    async def write(batch: Batch) -> None:
        raise AssertionError(batch)

    def fail(error: BaseException) -> None:
        raise error

    return Pipeline(IngestSettings(), write, fail)


def take(positions: Positions, partition: TopicPartition, count: int) -> None:
    """The first so many records of a partition are durable."""
    positions.open(partition, 0, count - 1, 0).is_durable = True


def is_waiting(partition: TopicPartition) -> bool:
    place = {"topic": partition.topic, "partition": str(partition.partition)}
    return (REGISTRY.get_sample_value("activity_lag_seconds", place) or 0) > 0


async def test_records_that_never_come_end_the_watch(
    consumer: Consumer, pipeline: Pipeline, partitions: list[TopicPartition]
) -> None:
    take(pipeline.positions, partitions[0], 1)
    take(pipeline.positions, partitions[1], 3)

    with pytest.raises(KafkaError, match="no record came"):
        await asyncio.wait_for(Lag(Health()).watch(consumer, pipeline), 10)


async def test_a_paused_partition_is_not_awaited_and_hides_no_other(
    consumer: Consumer, pipeline: Pipeline, partitions: list[TopicPartition]
) -> None:
    other, paused = partitions
    take(pipeline.positions, other, 3)
    take(pipeline.positions, paused, 1)
    consumer.pause(paused)
    watch = asyncio.create_task(Lag(Health()).watch(consumer, pipeline))
    ended, _ = await asyncio.wait({watch}, timeout=3 * STALL_SECONDS)
    assert not ended

    pipeline.positions = Positions()
    take(pipeline.positions, other, 1)
    with pytest.raises(KafkaError, match="no record came"):
        await asyncio.wait_for(watch, 10)


async def test_a_partition_that_went_away_while_records_waited_is_forgotten(
    consumer: Consumer, pipeline: Pipeline, partitions: list[TopicPartition]
) -> None:
    stays, goes = partitions
    take(pipeline.positions, stays, 3)
    take(pipeline.positions, goes, 1)
    watch = asyncio.create_task(Lag(Health()).watch(consumer, pipeline))

    async def waits() -> bool:
        return is_waiting(goes)

    await until(waits)
    consumer.assign([stays])
    pipeline.positions = Positions()
    take(pipeline.positions, stays, 3)
    ended, _ = await asyncio.wait({watch}, timeout=3 * STALL_SECONDS)

    assert not ended
    watch.cancel()
    await asyncio.wait({watch})


async def test_a_fresh_member_has_the_whole_time_again(
    consumer: Consumer, pipeline: Pipeline, partitions: list[TopicPartition]
) -> None:
    take(pipeline.positions, partitions[0], 1)
    take(pipeline.positions, partitions[1], 3)
    own = Lag(Health())
    with pytest.raises(KafkaError):
        await asyncio.wait_for(own.watch(consumer, pipeline), 10)
    started = asyncio.get_running_loop().time()

    with pytest.raises(KafkaError):
        await asyncio.wait_for(own.watch(consumer, pipeline), 10)

    assert asyncio.get_running_loop().time() - started > STALL_SECONDS
