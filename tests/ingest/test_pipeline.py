"""Batches on their way, without Kafka: what is taken is written, however the work ends."""

import asyncio
from contextlib import suppress

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumers import deadlines
from consumers.batch import Batch
from consumers.pipeline import Pipeline
from service.errors import StoreUnavailable
from service.settings import IngestSettings
from tests.factories import realistic_events
from tests.factories import record as encode_event

PARTITION = TopicPartition("t", 0)


def records(count: int) -> list[ConsumerRecord]:
    values = [encode_event(event) for event in realistic_events(1, count)]
    return [
        ConsumerRecord("t", 0, offset, 0, 0, None, value, None, 0, len(value), ())
        for offset, value in enumerate(values)
    ]


@pytest.mark.parametrize("count", [3, 13])
async def test_a_drain_writes_the_batch_that_waited_for_a_backlog(count: int) -> None:
    written: list[int] = []
    failures: list[BaseException] = []

    async def write(batch: Batch) -> None:
        await asyncio.sleep(0)
        written.append(batch.size)

    settings = IngestSettings(batch_max_records=10, max_writes_in_flight=1)
    pipeline = Pipeline(settings, write, failures.append)
    await pipeline.take({PARTITION: records(count)}, is_behind=True)

    await pipeline.finish(5)

    assert sum(written) == count
    assert pipeline.positions.due() == {PARTITION: count}
    assert not failures


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KafkaError("away")])
async def test_a_batch_left_behind_is_no_failure(error: Exception) -> None:
    failures: list[BaseException] = []

    async def write(_: Batch) -> None:
        raise error

    pipeline = Pipeline(IngestSettings(), write, failures.append)
    await pipeline.take({PARTITION: records(3)})

    await pipeline.finish(5)

    assert pipeline.is_idle
    assert pipeline.positions.due() == {}
    assert not failures


async def test_there_is_no_room_behind_a_full_batch() -> None:
    may_write = asyncio.Event()
    failures: list[BaseException] = []

    async def write(_: Batch) -> None:
        await may_write.wait()

    settings = IngestSettings(batch_max_records=10, max_writes_in_flight=1)
    pipeline = Pipeline(settings, write, failures.append)

    await pipeline.take({PARTITION: records(21)})
    had_room = pipeline.has_room
    may_write.set()

    assert not had_room
    assert await pipeline.wait_for_room(5)
    await pipeline.finish(5)
    assert pipeline.positions.due() == {PARTITION: 21}
    assert not failures


async def test_a_write_that_swallows_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `wait_for` of Python 3.11 does where its answer comes together with a cancellation."""
    monkeypatch.setattr(deadlines, "CANCEL_AGAIN_SECONDS", 0.01)
    failures: list[BaseException] = []
    writing = asyncio.Event()

    async def write(_: Batch) -> None:
        writing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    pipeline = Pipeline(IngestSettings(), write, failures.append)
    await pipeline.take({PARTITION: records(3)})
    await writing.wait()

    async with asyncio.timeout(5):
        await pipeline.drop()

    assert pipeline.is_idle
    assert not failures
