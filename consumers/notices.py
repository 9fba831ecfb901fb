"""Warnings that may come by the thousand, of which only some are logged."""

import logging
import time
from collections.abc import Callable, Mapping

MAX_LINES = 20
WINDOW_SECONDS = 60.0


class Notices:
    """Logs so many lines a minute; how many were left out is said once there is room again."""

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._began = clock()
        self._lines = 0

    def warn(self, text: str, details: Mapping[str, object]) -> None:
        """One line, unless there were too many in this minute."""
        if self._clock() - self._began >= WINDOW_SECONDS:
            self._begin()
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._log.warning(text, extra=dict(details))

    def _begin(self) -> None:
        left_out = self._lines - MAX_LINES
        if left_out > 0:
            self._log.warning("%d more lines of this kind were left out", left_out)
        self._began, self._lines = self._clock(), 0
