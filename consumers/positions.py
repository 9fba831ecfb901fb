"""Which positions may be committed (invariant I4)."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition


@dataclass(slots=True, eq=False)
class Span:
    """The records of one partition in one batch, from offset `first` up to `position` (the next)."""

    partition: TopicPartition
    first: int
    position: int
    timestamp_ms: int
    is_durable: bool = False


@dataclass(slots=True)
class _Progress:
    first: int
    spans: deque[Span] = field(default_factory=deque)
    durable: int | None = None
    committed: int | None = None


class Positions:
    """The positions of one assignment. Batches finish in any order; a position is due for commit
    only when every earlier record of its partition is durable.

    A rebalance starts a new one: what still finishes for the old can no longer move a position.
    """

    def __init__(self) -> None:
        self._progress: dict[TopicPartition, _Progress] = {}

    def open(self, partition: TopicPartition, first: int, last: int, timestamp_ms: int) -> Span:
        """Note that records from offset `first` to `last` were taken; the spans of a partition
        come in order."""
        span = Span(partition, first, last + 1, timestamp_ms)
        self._progress.setdefault(partition, _Progress(first)).spans.append(span)
        return span

    def due(self) -> dict[TopicPartition, int]:
        """The positions that have moved since the last commit."""
        due = {}
        for partition, progress in self._progress.items():
            self._advance(progress)
            if progress.durable is not None and progress.durable != progress.committed:
                due[partition] = progress.durable
        return due

    def durable(self) -> dict[TopicPartition, int]:
        """The last durable positions, committed or not."""
        self.due()
        known = ((partition, progress.durable) for partition, progress in self._progress.items())
        return {partition: position for partition, position in known if position is not None}

    def reached(self, partition: TopicPartition) -> int | None:
        """Before this everything is durable. None where nothing was taken yet."""
        progress = self._progress.get(partition)
        if progress is None:
            return None
        self._advance(progress)
        return progress.first if progress.durable is None else progress.durable

    def skip(self, partition: TopicPartition, position: int) -> None:
        """Note where the consumer stands when it has taken every record before: past the markers
        of transactions, which are no records. Without effect while records are in flight."""
        progress = self._progress.setdefault(partition, _Progress(position))
        self._advance(progress)
        if not progress.spans:
            progress.durable = max(position, progress.durable or 0)

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        for partition, position in positions.items():
            self._progress[partition].committed = position

    def oldest_timestamp_ms(self, partition: TopicPartition) -> int | None:
        """Of the records taken and not yet durable."""
        progress = self._progress.get(partition)
        if progress is None:
            return None
        self._advance(progress)
        return progress.spans[0].timestamp_ms if progress.spans else None

    def _advance(self, progress: _Progress) -> None:
        while progress.spans and progress.spans[0].is_durable:
            progress.durable = progress.spans.popleft().position
