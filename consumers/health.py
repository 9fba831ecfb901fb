"""What keeps this process from working, for its probes and its log."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from service.observability import RETRIES

logger = logging.getLogger(__name__)

Cause = Literal["mongodb", "indexes", "kafka", "dead_letters"]
for _cause in get_args(Cause):
    # From 0 on, or Prometheus would not see the first retry of a cause as a rise.
    RETRIES.labels(_cause)

STUCK_SECONDS = 60.0


class Health:
    """The outages being waited out, and whether the loop still comes round."""

    def __init__(self) -> None:
        self._outages: dict[Cause, dict[object, str]] = {}
        self._began: dict[Cause, float] = {}
        self._apart: dict[str, str] = {}
        self._last_turn: float | None = None
        self.has_joined = False

    def fail(self, cause: Cause, reason: str, by: object = None) -> None:
        """Count one failed attempt. The first of an outage is logged, the others are its rest.

        `by` tells whose attempt: a look at the store that succeeds is no recovery of a write that
        fails, nor is the write of one batch that of another.
        """
        RETRIES.labels(cause).inc()
        if cause not in self._outages:
            logger.warning("waiting for %s: %s", cause, reason)
            self._began[cause] = time.monotonic()
        self._outages.setdefault(cause, {})[by] = reason

    def recover(self, cause: Cause, by: object = None) -> None:
        """Whoever failed has succeeded. Cheap where nothing was wrong: called after every success."""
        if by in self._outages.get(cause, {}):
            self.leave(cause, by)
            if cause not in self._outages:
                seconds = time.monotonic() - self._began[cause]
                logger.info("%s is back after %.1f seconds", cause, seconds)

    def leave(self, cause: Cause, by: object) -> None:
        """Whoever failed tries no more."""
        failing = self._outages.get(cause, {})
        failing.pop(by, None)
        if not failing:
            self._outages.pop(cause, None)

    @property
    def is_away(self) -> bool:
        """Whether what a write needs is away: it would not end soon."""
        return self.is_out("mongodb") or self.is_out("dead_letters")

    def is_out(self, cause: Cause) -> bool:
        return cause in self._outages

    def set_apart(self, partition: str, reason: str) -> None:
        """It cannot be read; the others can, so the process stays ready."""
        self._apart[partition] = reason

    def take_back(self, partition: str) -> None:
        self._apart.pop(partition, None)

    def note(self) -> str | None:
        """Which partitions are not read, and why."""
        return f"ok, but for {'; '.join(self._apart.values())}" if self._apart else None

    def turn(self) -> None:
        """The loop has come round."""
        self._last_turn = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The loop waits where waiting is right, however long: a rebalance, Kafka away."""
        self._last_turn = None
        try:
            yield
        finally:
            self.turn()

    async def is_alive(self) -> str | None:
        """An outage is no reason: a restart would not mend it."""
        if self._last_turn is None:
            return None
        age = time.monotonic() - self._last_turn
        return f"the loop is stuck since {age:.0f} seconds" if age > STUCK_SECONDS else None

    async def is_ready(self) -> str | None:
        if self._outages:
            return "; ".join(
                f"{cause}: {reason}"
                for cause, failing in self._outages.items()
                for reason in dict.fromkeys(failing.values())
            )
        return None if self.has_joined else "not yet a member of the consumer group"
