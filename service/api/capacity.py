"""How much is worked on at once. What does not fit is refused at once, not late."""

import asyncio
from collections.abc import Callable
from time import monotonic

from service.errors import Overloaded
from service.observability import REQUESTS_IN_FLIGHT, REQUESTS_REFUSED, REQUESTS_WAITING

# A place that is not free by then is not worth waiting for: the client's patience counts too.
MAX_WAIT_SECONDS = 1.0
# What comes within so long comes at once, and may queue. A queue that stands serves nobody: it only
# makes everybody wait for it.
MAX_BURST_SECONDS = 0.02
# A crowd is over when for so long nobody has found every place taken.
CALM_SECONDS = 0.2


class Capacity:
    """`async with` it: a place among `max_in_flight`, in the order of arrival, or `Overloaded`.

    Where every place is taken one may wait up to a second, unless `max_waiting` already do, or the
    crowd has lasted for longer than a burst does.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        max_waiting: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._places = asyncio.Semaphore(max_in_flight)
        self._max_waiting = max_waiting
        self._clock = clock
        self._in_flight = 0
        self._waiting = 0
        self._crowd_began = self._crowd_seen = -CALM_SECONDS
        REQUESTS_IN_FLIGHT.set_function(lambda: self._in_flight)
        REQUESTS_WAITING.set_function(lambda: self._waiting)

    async def __aenter__(self) -> None:
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        self._in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        self._in_flight -= 1
        self._places.release()

    async def _wait(self) -> None:
        if not self._is_burst() or self._waiting >= self._max_waiting:
            raise _refused()
        self._waiting += 1
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise _refused() from None
        finally:
            self._waiting -= 1

    def _is_burst(self) -> bool:
        """Whether this crowd, of which the caller is one, is a young one."""
        now = self._clock()
        if now - self._crowd_seen > CALM_SECONDS:
            self._crowd_began = now
        self._crowd_seen = now
        return now - self._crowd_began <= MAX_BURST_SECONDS


def _refused() -> Overloaded:
    REQUESTS_REFUSED.inc()
    return Overloaded("The service is over capacity. Please ask again later.")
