"""The fuse of contract 1.6: a bad deploy stops the line instead of emptying a topic."""

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

from service.errors import Halted
from service.observability import FUSE_HELD

log = logging.getLogger(__name__)

WINDOW_RECORDS = 1000
MIN_DEAD_LETTERS = 100


class Judged(NamedTuple):
    """A record that counts: whether it is a dead letter, and whose, as far as it says so."""

    is_dead_letter: bool
    organization_id: str | None = None


class _Window:
    """The last records that count, and how many of them are whose."""

    def __init__(self, records: Sequence[Judged]) -> None:
        self._records = deque(records, WINDOW_RECORDS)
        self._all = Counter(record.organization_id for record in self._records)
        self._dead = Counter(one.organization_id for one in self._records if one.is_dead_letter)

    def add(self, record: Judged) -> None:
        if len(self._records) == WINDOW_RECORDS:
            self._count(self._records[0], -1)
        self._records.append(record)
        self._count(record, 1)

    @property
    def size(self) -> int:
        return len(self._records)

    @property
    def dead_letters(self) -> int:
        return self._dead.total()

    @property
    def culprit(self) -> str | None:
        """The one organization, of several, that all dead letters are of."""
        owners = [owner for owner, count in self._dead.items() if count]
        has_others = any(
            count for owner, count in self._all.items() if owner not in {None, *owners}
        )
        return owners[0] if len(owners) == 1 and has_others else None

    def _count(self, record: Judged, by: int) -> None:
        for counter, counts in ((self._all, True), (self._dead, record.is_dead_letter)):
            if counts:
                counter[record.organization_id] += by
                if not counter[record.organization_id]:
                    del counter[record.organization_id]


class Fuse:
    """Watches the share of dead letters among the last records that count: `_settled` are those
    that stay counted, `_open` those of batches whose dead letters are being published.

    Where all of them are of one organization among several, that is one tenant's producer and no
    bad deploy: the line goes on, and it is told whose they are.
    """

    def __init__(self, max_ratio: float) -> None:
        self._max_ratio = max_ratio
        self._settled: deque[Judged] = deque(maxlen=WINDOW_RECORDS)
        self._open: dict[object, Sequence[Judged]] = {}
        self._culprit: str | None = None

    @contextmanager
    def judged(self, records: Sequence[Judged]) -> Iterator[None]:
        """Count the records of one batch in their order; inside, its dead letters are published.

        Where that fails they are no longer counted: they come again, and no record counts twice.
        Raises `Halted` when the fuse blows.
        """
        self._judge(records)
        batch = object()
        self._open[batch] = records
        try:
            yield
            self._settled.extend(records)
        finally:
            del self._open[batch]

    def _judge(self, records: Sequence[Judged]) -> None:
        window = _Window(list(chain(self._settled, *self._open.values())))
        for record in records:
            window.add(record)
            if record.is_dead_letter and self._is_over(window) and window.culprit is None:
                raise Halted(
                    f"{window.dead_letters} of the last {window.size} records are dead letters,"
                    f" more than ACTIVITY_DEAD_LETTER_MAX_RATIO={self._max_ratio} allows;"
                    " nothing of this batch was set aside or committed"
                )
        self._tell(window.culprit if self._is_over(window) else None)

    def _is_over(self, window: _Window) -> bool:
        dead_letters = window.dead_letters
        return dead_letters >= MIN_DEAD_LETTERS and dead_letters > self._max_ratio * window.size

    def _tell(self, culprit: str | None) -> None:
        if culprit == self._culprit:
            return
        if self._culprit is not None:
            FUSE_HELD.remove(self._culprit)
        if culprit is not None:
            FUSE_HELD.labels(culprit).set(1)
            log.warning(
                "most records are dead letters of one organization: the line goes on",
                extra={"organization": culprit},
            )
        self._culprit = culprit
