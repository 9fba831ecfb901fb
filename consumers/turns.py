"""Partitions that are far behind are read in turns."""

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from aiokafka import TopicPartition

RUN_BYTES = 8 * 1024 * 1024
IDLE_SECONDS = 0.5


class Turns:
    """Whose turn it is, of the partitions with a backlog.

    The emails of a conversation lie in one partition. Read in a long run they come in one batch, and
    their thread is written once; read a little of each partition at a time they come in several.
    What is not behind is no part of this: a live event waits for nobody's turn.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queue: deque[TopicPartition] = deque()
        self._begin()

    def note(self, partition: TopicPartition, size: int, *, is_behind: bool) -> None:
        """So many bytes came of it; with `is_behind` there is much more."""
        if is_behind and partition not in self._queue:
            self._queue.append(partition)
            if len(self._queue) == 1:
                self._begin()
        if self._queue and partition == self._queue[0]:
            self._bytes += size
            self._came = self._clock()
        if not is_behind and partition in self._queue:
            self._leave(partition)

    def waiting(self) -> set[TopicPartition]:
        """Those whose turn it is not. A turn is a run; when nothing has come of it for a while,
        whatever may keep its records back, all begin anew."""
        if self._clock() - self._came >= IDLE_SECONDS:
            self._queue.clear()
        if self._bytes >= RUN_BYTES:
            self._queue.rotate(-1)
            self._begin()
        return set(islice(self._queue, 1, None))

    def _leave(self, partition: TopicPartition) -> None:
        if partition == self._queue[0]:
            self._begin()
        self._queue.remove(partition)

    def _begin(self) -> None:
        self._bytes = 0
        self._came = self._clock()
