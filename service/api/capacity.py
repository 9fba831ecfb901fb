"""How much is worked on at once. What does not fit is refused at once, not late."""

import asyncio

from service.errors import Overloaded
from service.observability import REQUESTS_IN_FLIGHT, REQUESTS_WAITING

# A place that is not free by then is not worth waiting for: the client's patience counts too.
MAX_WAIT_SECONDS = 1.0


class Capacity:
    """`async with` it: a place among `max_in_flight`, or `Overloaded` where `max_waiting` already
    wait for one or none comes free within a second. Places are given in the order of arrival."""

    def __init__(self, *, max_in_flight: int, max_waiting: int) -> None:
        self._places = asyncio.Semaphore(max_in_flight)
        self._max_waiting = max_waiting
        self._waiting = 0

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
        self._waiting += 1
        REQUESTS_WAITING.inc()
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("The service is over capacity. Please ask again later.") from None
        finally:
            self._waiting -= 1
            REQUESTS_WAITING.dec()
