"""The fuse of contract 1.6: a bad deploy stops the line instead of emptying a topic."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from service.errors import Halted

WINDOW_RECORDS = 1000
MIN_DEAD_LETTERS = 100


class Fuse:
    """Watches the share of dead letters among the last records that count.

    Of each record it knows whether it is a dead letter: `_settled` of those that stay counted,
    `_open` of the batches whose dead letters are being published.
    """

    def __init__(self, max_ratio: float) -> None:
        self._max_ratio = max_ratio
        self._settled: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._open: dict[object, Sequence[bool]] = {}

    @contextmanager
    def judged(self, are_dead_letters: Sequence[bool]) -> Iterator[None]:
        """Count the records of one batch in their order; inside, its dead letters are published.

        Where that fails they are no longer counted: they come again, and no record counts twice.
        Raises `Halted` when the fuse blows.
        """
        self._judge(are_dead_letters)
        batch = object()
        self._open[batch] = are_dead_letters
        try:
            yield
            self._settled.extend(are_dead_letters)
        finally:
            del self._open[batch]

    def _judge(self, are_dead_letters: Sequence[bool]) -> None:
        window = deque(chain(self._settled, *self._open.values()), WINDOW_RECORDS)
        dead_letters = sum(window)
        for is_dead_letter in are_dead_letters:
            if len(window) == WINDOW_RECORDS:
                dead_letters -= window[0]
            window.append(is_dead_letter)
            dead_letters += is_dead_letter
            if is_dead_letter and self._is_blown(dead_letters, len(window)):
                raise Halted(
                    f"{dead_letters} of the last {len(window)} records are dead letters,"
                    f" more than ACTIVITY_DEAD_LETTER_MAX_RATIO={self._max_ratio} allows;"
                    " nothing of this batch was set aside or committed"
                )

    def _is_blown(self, dead_letters: int, records: int) -> bool:
        return dead_letters >= MIN_DEAD_LETTERS and dead_letters > self._max_ratio * records
