"""Where reading is taken up again: committed positions beside what Kafka still holds (contract 1.5.7).

With each position goes a mark, the id of its topic. A position is believed only where the mark is the
topic's own, and where it lies within what the partition holds.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from consumers.reading import Consumer
from service.observability import POSITIONS_RESET, RECORDS_SKIPPED

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
INTERVAL_SECONDS = 2.0
RETRY_SECONDS = 0.5
_MARK = "topic-id="

Reason = Literal["expired", "recreated", "truncated"]


@dataclass(frozen=True, slots=True)
class Resumption:
    """The offset to read from, and why it is not the one that was committed."""

    offset: int
    reason: Reason | None = None


def resume(
    committed: OffsetAndMetadata | None, first: int, end: int, topic_id: str | None
) -> Resumption:
    """What `committed` is worth for a partition that holds the offsets from `first` to before `end`,
    of a topic with this id (None: nobody knows)."""
    if committed is None:
        return Resumption(first)
    offset, metadata = committed
    marked = metadata.removeprefix(_MARK) if metadata.startswith(_MARK) else None
    if marked and topic_id and marked != topic_id:
        return Resumption(first, "recreated")
    if offset > end:
        return Resumption(first, "truncated")
    if offset < first:
        return Resumption(first, "expired")
    return Resumption(offset)


class Resuming:
    """Settles where each partition of an assignment is read from, before it is read."""

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics
        self._topic_ids: Mapping[str, str] = {}
        for topic in topics:
            # From 0 on, or Prometheus would not see the first ones as a rise.
            for reason in ("expired", "decided"):
                RECORDS_SKIPPED.labels(topic, reason)
            for reset in ("expired", "recreated", "truncated"):
                POSITIONS_RESET.labels(topic, reset)

    def marked(
        self, positions: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, tuple[int, str]]:
        """The positions as they are to be committed."""
        return {
            partition: (
                offset,
                f"{_MARK}{id_}" if (id_ := self._topic_ids.get(partition.topic)) else "",
            )
            for partition, offset in positions.items()
        }

    async def watch(self, consumer: Consumer) -> None:
        """Raises `KafkaError` where what is being read is not any more what was: a fresh member
        looks at all of it again."""
        self._topic_ids = {}
        while True:
            while consumer.unsettled:
                if not await self._settle(consumer):
                    await asyncio.sleep(RETRY_SECONDS)
            await consumer.until_unsettled(INTERVAL_SECONDS)
            if consumer.out_of_range is not None:
                raise KafkaError(f"{consumer.out_of_range} is not there any more")
            await self._look_for_other_topics(consumer)

    async def _look_for_other_topics(self, consumer: Consumer) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                topic_ids = await consumer.find_topic_ids(self._topics)
        except (KafkaError, TimeoutError):
            return  # asked again
        for topic, topic_id in topic_ids.items():
            if self._topic_ids.get(topic, topic_id) != topic_id:
                consumer.give_up_place()
                raise KafkaError(f"the topic {topic} was made again")

    async def _settle(self, consumer: Consumer) -> bool:
        """Whether anything came of it; what does not answer is asked again."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                topic_ids = await consumer.find_topic_ids(self._topics)
                committed = await consumer.find_committed(frozenset(consumer.unsettled))
        except (KafkaError, TimeoutError) as error:
            log.info("positions are not known yet: %s", str(error) or "no answer")
            return False
        self._topic_ids = topic_ids
        firsts, _ = await consumer.ask(consumer.beginning_offsets, committed.keys(), ANSWER_SECONDS)
        ends, _ = await consumer.ask(consumer.end_offsets, firsts.keys(), ANSWER_SECONDS)
        settled = False
        for partition, end in ends.items():
            if partition in consumer.unsettled:
                self._take_up(consumer, partition, committed[partition], firsts[partition], end)
                settled = True
        return settled

    def _take_up(
        self,
        consumer: Consumer,
        partition: TopicPartition,
        committed: OffsetAndMetadata | None,
        first: int,
        end: int,
    ) -> None:
        topic = partition.topic
        resumption = resume(committed, first, end, self._topic_ids.get(topic))
        if committed is not None and resumption.reason is not None:
            missing = first - committed.offset if resumption.reason == "expired" else None
            POSITIONS_RESET.labels(topic, resumption.reason).inc()
            RECORDS_SKIPPED.labels(topic, "expired").inc(missing or 0)
            log.warning(
                "a position is not there any more",
                extra={
                    "topic": topic,
                    "partition": partition.partition,
                    "reason": resumption.reason,
                    "committed_offset": committed.offset,
                    "next_offset": first,
                    "end_offset": end,
                    "records_missing": missing,
                },
            )
        consumer.settle(partition, resumption.offset)
