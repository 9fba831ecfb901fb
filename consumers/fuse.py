"""The fuse of contract 1.6: a bad deploy stops the line instead of emptying a topic."""

from collections import deque
from collections.abc import Iterable

from service.errors import Halted

WINDOW_RECORDS = 1000
MIN_DEAD_LETTERS = 100


class Fuse:
    """Watches the share of dead letters among the last records that count."""

    def __init__(self, max_ratio: float) -> None:
        self._max_ratio = max_ratio
        self._window: deque[bool] = deque(maxlen=WINDOW_RECORDS)
        self._dead_letters = 0

    def judge(self, is_dead_letter: Iterable[bool]) -> None:
        """Count the records of one batch in their order, before its dead letters are published.

        Raises `Halted` when the fuse blows.
        """
        for is_dead in is_dead_letter:
            if len(self._window) == WINDOW_RECORDS:
                self._dead_letters -= self._window[0]
            self._window.append(is_dead)
            self._dead_letters += is_dead
            if is_dead and self._is_blown():
                raise Halted(
                    f"{self._dead_letters} of the last {len(self._window)} records are dead letters,"
                    f" more than ACTIVITY_DEAD_LETTER_MAX_RATIO={self._max_ratio} allows;"
                    " nothing of this batch was set aside or committed"
                )

    def _is_blown(self) -> bool:
        limit = self._max_ratio * len(self._window)
        return self._dead_letters >= MIN_DEAD_LETTERS and self._dead_letters > limit
