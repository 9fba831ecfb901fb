"""How far this member is behind, and whether Kafka answers."""

import asyncio
import time
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumers.health import Health
from consumers.pipeline import Pipeline
from consumers.reading import Consumer, Fault
from service.observability import LAG_RECORDS, LAG_SECONDS, OLDEST_RECORD_SECONDS

INTERVAL_SECONDS = 2.0
ANSWER_SECONDS = 5.0
STALL_SECONDS = 120.0


class Lag:
    """Measures what is not yet durable, partition by partition."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._waiting: dict[TopicPartition, tuple[int, float]] = {}
        self._answered = time.monotonic()

    async def watch(self, consumer: Consumer, pipeline: Pipeline) -> None:
        """Raises `KafkaError` where no answer comes for minutes, or no record though there are some:
        whatever has died inside the client, only a fresh one helps."""
        self._answered = time.monotonic()
        self._waiting.clear()
        try:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                await self._measure(consumer, pipeline)
        finally:
            _forget()

    async def _measure(self, consumer: Consumer, pipeline: Pipeline) -> None:
        partitions = consumer.assignment()
        ends, faults = await consumer.ask(consumer.end_offsets, partitions, ANSWER_SECONDS)
        if faults and not ends:
            self._health.fail("kafka", next(iter(faults.values())))
            if time.monotonic() - self._answered > STALL_SECONDS:
                raise KafkaError(f"no answer for {STALL_SECONDS} seconds")
            return
        for partition, reason in faults.items():
            if partition not in consumer.faults and partition in consumer.assignment():
                reached = pipeline.positions.reached(partition) or 0
                consumer.fail(partition, Fault(reached, reason))
        self._answered = time.monotonic()
        if ends:
            self._health.recover("kafka")
        self._report(ends, pipeline)
        for partition in consumer.paused():
            self._waiting.pop(partition, None)
        oldest = min((since for _, since in self._waiting.values()), default=time.monotonic())
        if time.monotonic() - oldest > STALL_SECONDS:
            raise KafkaError(f"no record came for {STALL_SECONDS} seconds though there are some")

    def _report(self, ends: Mapping[TopicPartition, int], pipeline: Pipeline) -> None:
        positions = pipeline.positions
        _forget()
        # A partition that is another member's by now waits for nobody here.
        self._waiting = {one: waits for one, waits in self._waiting.items() if one in ends}
        ages = [0.0]
        for partition, end in ends.items():
            reached = positions.reached(partition)
            position = end if reached is None else reached
            taken_ms = positions.oldest_timestamp_ms(partition)
            is_waiting = taken_ms is None and position < end
            waited = self._wait(partition, position, is_waiting=is_waiting)
            if taken_ms is not None:
                ages.append(max(0.0, time.time() - taken_ms / 1000))
            age = waited if taken_ms is None else ages[-1]
            LAG_RECORDS.labels(partition.topic, partition.partition).set(max(0, end - position))
            LAG_SECONDS.labels(partition.topic, partition.partition).set(age)
        OLDEST_RECORD_SECONDS.set(max(ages))

    def _wait(self, partition: TopicPartition, position: int, *, is_waiting: bool) -> float:
        """How long records have been seen behind `position` without one being taken. Their own
        times are not known yet."""
        now = time.monotonic()
        last, since = self._waiting.get(partition, (position, now))
        if not is_waiting:
            self._waiting.pop(partition, None)
            return 0.0
        self._waiting[partition] = (position, since if last == position else now)
        return now - self._waiting[partition][1]


def _forget() -> None:
    """A partition that nobody measures has no lag, rather than its last one for ever."""
    LAG_RECORDS.clear()
    LAG_SECONDS.clear()
