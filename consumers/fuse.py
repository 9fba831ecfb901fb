"""The fuse of contract 1.6: a bad deploy stops the line instead of emptying a topic."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from service.errors import Halted

WINDOW_RECORDS = 1000
MIN_DEAD_LETTERS = 100


class _Verdict(NamedTuple):
    batch: object
    is_dead_letter: bool


class Fuse:
    """Watches the share of dead letters among the last records that count."""

    def __init__(self, max_ratio: float) -> None:
        self._max_ratio = max_ratio
        self._window: deque[_Verdict] = deque(maxlen=WINDOW_RECORDS)
        self._dead_letters = 0

    @contextmanager
    def judged(self, are_dead_letters: Iterable[bool]) -> Iterator[None]:
        """Count the records of one batch in their order; inside, its dead letters are published.

        Where that fails they are no longer counted: they come again, and no record counts twice.
        Raises `Halted` when the fuse blows.
        """
        batch = object()
        verdicts = {one: _Verdict(batch, one) for one in (True, False)}
        for is_dead_letter in are_dead_letters:
            self._count(verdicts[is_dead_letter])
        try:
            yield
        except BaseException:
            self._forget(batch)
            raise

    def _count(self, verdict: _Verdict) -> None:
        if len(self._window) == WINDOW_RECORDS:
            self._dead_letters -= self._window[0].is_dead_letter
        self._window.append(verdict)
        self._dead_letters += verdict.is_dead_letter
        if verdict.is_dead_letter and self._is_blown():
            raise Halted(
                f"{self._dead_letters} of the last {len(self._window)} records are dead letters,"
                f" more than ACTIVITY_DEAD_LETTER_MAX_RATIO={self._max_ratio} allows;"
                " nothing of this batch was set aside or committed"
            )

    def _forget(self, batch: object) -> None:
        kept = [verdict for verdict in self._window if verdict.batch is not batch]
        self._window = deque(kept, maxlen=WINDOW_RECORDS)
        self._dead_letters = sum(verdict.is_dead_letter for verdict in kept)

    def _is_blown(self) -> bool:
        limit = self._max_ratio * len(self._window)
        return self._dead_letters >= MIN_DEAD_LETTERS and self._dead_letters > limit
