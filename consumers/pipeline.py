"""Records on their way to the store: taken, waiting for a place, being written."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumers.batch import Batch, BatchLimits
from consumers.deadlines import cancel, within
from consumers.positions import Positions
from consumers.records import is_long
from service.errors import ActivityError, StoreError
from service.observability import BYTES_IN_FLIGHT
from service.settings import IngestSettings

logger = logging.getLogger(__name__)

# A batch that is not full waits so long for the next records of a backlog.
BACKLOG_PATIENCE_SECONDS = 0.05
# So long records are parsed in one go; then whatever else the process does has its turn.
TURN_SECONDS = 0.02

Write = Callable[[Batch], Coroutine[Any, Any, None]]
Fail = Callable[[BaseException], None]


class Pipeline:
    """Gathers records into batches and writes several batches at once.

    Batches size themselves: with nothing being written a record goes at once; while writes are in
    flight it waits up to the batch's age for company; behind a backlog every batch is full.
    `fail` is told what a write raised: a blown fuse, or a defect.
    """

    def __init__(self, settings: IngestSettings, write: Write, fail: Fail) -> None:
        self._settings = settings
        self._limits = BatchLimits(
            settings.batch_max_records, settings.batch_max_bytes, settings.max_record_bytes
        )
        self._write = write
        self._fail = fail
        self._batch = Batch(self._limits)
        self._ready: deque[Batch] = deque()
        self._is_behind = False
        self._writes: dict[asyncio.Task[None], Batch] = {}
        self._changed = asyncio.Event()
        self._drops = 0
        self._turn_began = 0.0
        self.positions = Positions()

    @property
    def has_room(self) -> bool:
        return not self._ready and self._bytes() < self._settings.max_bytes_in_flight

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be written but what MongoDB refuses."""
        return not (self._in_flight or self._ready or self._batch.size)

    @property
    def _in_flight(self) -> int:
        """A batch that was set apart takes nobody's place."""
        return sum(not batch.is_set_apart for batch in self._writes.values())

    async def take(
        self,
        fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]],
        *,
        is_behind: bool = False,
    ) -> None:
        """Parse records and put them on their way, without holding the event loop for long. With
        `is_behind` more are sure to come at once, and a batch that is not full waits for them.

        What is dropped meanwhile takes the rest with it.
        """
        self._is_behind = is_behind
        drops = self._drops
        for partition, records in fetched.items():
            taken = 0
            while taken < len(records) and drops == self._drops:
                taken = await self._take_some(partition, records, taken)
        self._start_writes()

    def patience_seconds(self, idle_seconds: float) -> float:
        """How long the next fetch may wait before an open batch is to be looked at again."""
        if not self._batch.size or self._in_flight >= self._settings.max_writes_in_flight:
            return idle_seconds
        if self._is_behind:
            return BACKLOG_PATIENCE_SECONDS
        return max(0.001, self._settings.batch_max_age_seconds - self._age())

    async def wait_for_room(self, seconds: float) -> bool:
        """Whether there is room, now or within `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.has_room and (left := deadline - time.monotonic()) > 0:
            self._changed.clear()
            await within(left, self._changed.wait())
        return self.has_room

    async def finish(self, seconds: float) -> None:
        """Wait for the batches that have begun, and for the waiting ones behind them; what is not
        durable by then is dropped, to be delivered again."""
        self._is_behind = False  # nothing more comes that a batch could wait for
        deadline = time.monotonic() + seconds
        while not self.is_idle and (left := deadline - time.monotonic()) > 0:
            self._start_writes()
            await asyncio.wait(self._writes, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self.drop()

    async def drop(self) -> None:
        """Forget everything that is not durable, and the positions of the assignment."""
        self.drop_waiting()
        await cancel(self._writes)

    def drop_waiting(self) -> None:
        """Forget what has not begun to be written, or is being taken."""
        self._drops += 1
        self._ready.clear()
        self._batch = Batch(self._limits)
        self._note_change()

    async def _take_some(
        self, partition: TopicPartition, records: Sequence[ConsumerRecord], start: int
    ) -> int:
        """Answers the place of the next one. Nothing is awaited between a record and its span."""
        first, drops = records[start], self._drops
        outcome = None
        if is_long(first):
            outcome = await asyncio.to_thread(self._batch.parse, first)
            if drops != self._drops:
                return start
        if self._batch.is_full:
            self._ready.append(self._batch)
            self._batch = Batch(self._limits)
        if outcome is None:
            end = self._batch.fill(records, start, TURN_SECONDS)
        else:
            self._batch.take(first, outcome)
            end = start + 1
        span = self.positions.open(
            partition, first.offset, records[end - 1].offset, first.timestamp
        )
        self._batch.spans.append(span)
        if time.monotonic() > self._turn_began + TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn_began = time.monotonic()
        return end

    def _start_writes(self) -> None:
        while self._in_flight < self._settings.max_writes_in_flight:
            batch = self._next_batch()
            if batch is None:
                break
            task = asyncio.create_task(self._make_durable(batch), name="write")
            self._writes[task] = batch
            task.add_done_callback(self._on_done)
        self._note_change()

    def _next_batch(self) -> Batch | None:
        if self._ready:
            return self._ready.popleft()
        if not self._batch.size or not self._is_due():
            return None
        batch, self._batch = self._batch, Batch(self._limits)
        return batch

    def _is_due(self) -> bool:
        if self._batch.is_full or self._is_behind:
            return self._batch.is_full
        return not self._in_flight or self._age() >= self._settings.batch_max_age_seconds

    def _age(self) -> float:
        return time.monotonic() - self._batch.opened

    async def _make_durable(self, batch: Batch) -> None:
        await self._write(batch)
        for span in batch.spans:
            span.is_durable = True

    def _on_done(self, task: asyncio.Task[None]) -> None:
        batch = self._writes.pop(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StoreError | KafkaError):
            logger.info("a batch is left to be delivered again: %s", error)
        elif error is not None:
            if not isinstance(error, ActivityError):
                logger.error(
                    "a defect: %s while writing %s", type(error).__name__, _describe(batch)
                )
            self._fail(error)
        else:
            self._start_writes()
        self._note_change()

    def _note_change(self) -> None:
        BYTES_IN_FLIGHT.set(self._bytes())
        self._changed.set()

    def _bytes(self) -> int:
        waiting = sum(batch.bytes for batch in self._ready)
        return self._batch.bytes + waiting + sum(batch.bytes for batch in self._writes.values())


def _describe(batch: Batch) -> str:
    """Where its records are, for whoever looks for the one that has shown a defect."""
    return ", ".join(
        f"{span.partition.topic} {span.partition.partition} offsets {span.first} to {span.position - 1}"
        for span in batch.spans
    )
