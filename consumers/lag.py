"""How far this member is behind, and whether Kafka answers."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumers.health import Health
from consumers.pipeline import Pipeline
from service.observability import LAG_RECORDS, LAG_SECONDS, OLDEST_RECORD_SECONDS

INTERVAL_SECONDS = 5.0
ANSWER_SECONDS = 5.0


class Lag:
    """Measures what is not yet durable, partition by partition."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._behind_since: dict[TopicPartition, float] = {}

    async def watch(self, consumer: AIOKafkaConsumer, pipeline: Pipeline) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self._measure(consumer, pipeline)

    async def _measure(self, consumer: AIOKafkaConsumer, pipeline: Pipeline) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ends = await consumer.end_offsets(consumer.assignment())
        except (KafkaError, TimeoutError) as error:
            self._health.fail("kafka", str(error) or "no answer")
            return
        if ends:
            self._health.recover("kafka")
        self._report(ends, pipeline)

    def _report(self, ends: dict[TopicPartition, int], pipeline: Pipeline) -> None:
        durable = pipeline.positions.durable()
        ages = [0.0]
        LAG_RECORDS.clear()
        LAG_SECONDS.clear()
        for partition, end in ends.items():
            lag = max(0, end - durable.get(partition, end))
            taken_ms = pipeline.positions.oldest_timestamp_ms(partition)
            age = self._age(partition, lag, taken_ms)
            LAG_RECORDS.labels(partition.topic, partition.partition).set(lag)
            LAG_SECONDS.labels(partition.topic, partition.partition).set(age)
            ages.append(age if taken_ms is not None else 0.0)
        OLDEST_RECORD_SECONDS.set(max(ages))

    def _age(self, partition: TopicPartition, lag: int, taken_ms: int | None) -> float:
        """Of the oldest record not yet durable. One not yet taken has no known time: then since
        when it was seen to be there."""
        if taken_ms is not None:
            return max(0.0, time.time() - taken_ms / 1000)
        now = time.monotonic()
        if not lag:
            self._behind_since.pop(partition, None)
            return 0.0
        return now - self._behind_since.setdefault(partition, now)
