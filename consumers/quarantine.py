"""Partitions that cannot be read: each is set apart by itself, and tried again (contract 1.5.5)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiokafka import TopicPartition

from consumers.health import Health
from consumers.reading import Consumer, Fault
from service.errors import StoreError
from service.observability import PARTITIONS_UNREADABLE, RECORDS_SKIPPED

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
# In place of a partition's number, where a whole topic cannot be seen.
_ALL = "all"

# Whether an operator has decided that what lies at this offset is to be passed over.
IsSkipped = Callable[[TopicPartition, int], Awaitable[bool]]


@dataclass(slots=True)
class _Case:
    fault: Fault
    due: float
    pause_seconds: float = FIRST_PAUSE_SECONDS
    tried_ms: float | None = None


class Quarantine:
    """Watches the faults of a consumer. The other partitions are none of its business."""

    def __init__(self, health: Health, is_skipped: IsSkipped) -> None:
        self._health = health
        self._is_skipped = is_skipped
        self._cases: dict[TopicPartition, _Case] = {}
        self._missing: set[str] = set()

    async def watch(self, consumer: Consumer, is_holding: Callable[[], bool]) -> None:
        """Never returns. While all partitions are held back, none is tried."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self._look_for_topics(consumer)
                self._forget_others(consumer)
                for partition, fault in list(consumer.faults.items()):
                    self._note(partition, fault)
                for partition, case in list(self._cases.items()):
                    await self._attend(consumer, partition, case, is_holding)
        finally:
            for partition in list(self._cases):
                self._close(partition)
            for topic in self._missing:
                self._see_again(topic)
            self._missing = set()

    def _look_for_topics(self, consumer: Consumer) -> None:
        """Kafka shows no partition of a topic that is gone, or that may not be seen any more."""
        if not self._health.has_joined:
            return  # what there is has not been asked for yet
        missing = {
            topic for topic in consumer.subscription() if not consumer.partitions_for_topic(topic)
        }
        for topic in missing - self._missing:
            log.warning("a topic cannot be seen", extra={"topic": topic})
            self._health.set_apart(topic, f"{topic}: it is gone, or there is no right to it")
            PARTITIONS_UNREADABLE.labels(topic, _ALL).set(1)
        for topic in self._missing - missing:
            log.info("a topic is seen again", extra={"topic": topic})
            self._see_again(topic)
        self._missing = missing

    def _see_again(self, topic: str) -> None:
        self._health.take_back(topic)
        PARTITIONS_UNREADABLE.remove(topic, _ALL)

    def _forget_others(self, consumer: Consumer) -> None:
        """A partition that is another member's by now is its case."""
        assignment = consumer.assignment()
        for partition in consumer.faults.keys() - assignment:
            del consumer.faults[partition]
        for partition in self._cases.keys() - assignment:
            self._close(partition)

    def _note(self, partition: TopicPartition, fault: Fault) -> None:
        case = self._cases.get(partition)
        if case is None or case.fault.offset != fault.offset:
            log.warning("a partition is set apart", extra=_details(partition, fault))
            case = self._cases[partition] = _Case(fault, time.monotonic() + FIRST_PAUSE_SECONDS)
        elif case.tried_ms is not None:
            case.pause_seconds = min(2 * case.pause_seconds, MAX_PAUSE_SECONDS)
            case.fault, case.due = fault, time.monotonic() + case.pause_seconds
        case.tried_ms = None
        name = f"{partition.topic}[{partition.partition}]"
        self._health.set_apart(name, f"{name}@{fault.offset}: {fault.reason}")
        PARTITIONS_UNREADABLE.labels(*partition).set(1)

    async def _attend(
        self,
        consumer: Consumer,
        partition: TopicPartition,
        case: _Case,
        is_holding: Callable[[], bool],
    ) -> None:
        if case.tried_ms is not None:
            answered_ms = consumer.last_poll_timestamp(partition) or 0
            if answered_ms >= case.tried_ms and partition not in consumer.faults:
                log.info("a partition is read again", extra=_details(partition, case.fault))
                self._close(partition)
        elif time.monotonic() >= case.due and not is_holding():
            is_skipped = await self._find_decision(partition, case.fault.offset)
            if partition in consumer.assignment() and not is_holding():
                if is_skipped:
                    self._skip(consumer, partition, case.fault)
                case.tried_ms = time.time() * 1000
                consumer.retry(partition)

    async def _find_decision(self, partition: TopicPartition, offset: int) -> bool:
        try:
            return await self._is_skipped(partition, offset)
        except StoreError:
            return False  # asked again with the next try

    def _skip(self, consumer: Consumer, partition: TopicPartition, fault: Fault) -> None:
        next_offset = fault.next_offset or fault.offset + 1
        log.warning(
            "an operator lets what cannot be read be passed over",
            extra={**_details(partition, fault), "next_offset": next_offset},
        )
        RECORDS_SKIPPED.labels(partition.topic, "decided").inc(next_offset - fault.offset)
        consumer.seek(partition, next_offset)

    def _close(self, partition: TopicPartition) -> None:
        del self._cases[partition]
        self._health.take_back(f"{partition.topic}[{partition.partition}]")
        PARTITIONS_UNREADABLE.remove(*map(str, partition))


def _details(partition: TopicPartition, fault: Fault) -> dict[str, object]:
    return {
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": fault.offset,
        "reason": fault.reason,
    }
