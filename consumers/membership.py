"""Two members under one instance id, noticed (design 4)."""

import time
from collections import deque
from collections.abc import Callable

from service.errors import Halted

WINDOW_SECONDS = 60.0
MAX_LOSSES = 4


class Membership:
    """Counts how often this member was thrown out of its group.

    Kafka gives a static member's place to whoever comes with its instance id, and aiokafka takes
    it back without a word: two processes with one id would do nothing else for ever.
    """

    def __init__(
        self, instance_id: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._instance_id = instance_id
        self._clock = clock
        self._losses: deque[float] = deque(maxlen=MAX_LOSSES)

    def lose(self) -> None:
        """The group did not know this member any more. Raises `Halted` when that has become a
        habit."""
        if self._instance_id is None:
            return
        now = self._clock()
        self._losses.append(now)
        if len(self._losses) == MAX_LOSSES and now - self._losses[0] < WINDOW_SECONDS:
            raise Halted(
                f"thrown out of the consumer group {MAX_LOSSES} times in a minute: another process"
                f" uses ACTIVITY_KAFKA_GROUP_INSTANCE_ID={self._instance_id}, too"
            )
