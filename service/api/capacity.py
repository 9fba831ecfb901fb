"""How much is worked on at once. What does not fit is refused at once, not late."""

import asyncio
from collections.abc import Callable
from time import monotonic

from service.errors import Overloaded
from service.observability import REQUESTS_IN_FLIGHT, REQUESTS_WAITING

# A burst is worth waiting out for a second: the client's patience counts too. A queue that has not
# been empty for a while is no burst but more than can be answered, and each would be answered late:
# then nobody waits for longer than a few milliseconds (the rule of controlled delay).
MAX_WAIT_SECONDS = 1.0
MAX_BURST_SECONDS = 0.1
MAX_WAIT_IN_OVERLOAD_SECONDS = 0.005


class Capacity:
    """`async with` it: a place among `max_in_flight`, or `Overloaded` where `max_waiting` already
    wait for one or none comes free in time. Places are given in the order of arrival."""

    def __init__(
        self, *, max_in_flight: int, max_waiting: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._places = asyncio.Semaphore(max_in_flight)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._clock = clock
        self._queue_began = 0.0

    async def __aenter__(self) -> None:
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        REQUESTS_IN_FLIGHT.inc()

    async def __aexit__(self, *_: object) -> None:
        REQUESTS_IN_FLIGHT.dec()
        self._places.release()

    async def _wait(self) -> None:
        if self._waiting >= self._max_waiting:
            raise Overloaded("The service is over capacity. Please ask again later.")
        if not self._waiting:
            self._queue_began = self._clock()
        self._waiting += 1
        REQUESTS_WAITING.inc()
        try:
            async with asyncio.timeout(self._patience_seconds()):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("The service is over capacity. Please ask again later.") from None
        finally:
            self._waiting -= 1
            REQUESTS_WAITING.dec()

    def _patience_seconds(self) -> float:
        is_burst = self._clock() - self._queue_began < MAX_BURST_SECONDS
        return MAX_WAIT_SECONDS if is_burst else MAX_WAIT_IN_OVERLOAD_SECONDS
