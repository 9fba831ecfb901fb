"""One follower's connection: the page or what was missed, then what happens (contract 3.7)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing

from aiohttp import web

from service.api.event_stream import MEDIA_TYPE, to_event, to_keep_alive, to_retry
from service.api.followed import Followed
from service.api.following import Following
from service.api.outbox import MAX_SEND_SECONDS
from service.errors import StoreError, Unauthorized
from service.listing.event_ids import Place

KEEP_ALIVE_SECONDS = 15.0

ReadPage = Callable[[], Awaitable[bytes]]
Check = Callable[[], Awaitable[object]]


class Stream:
    """`open` it, then `send` it; `send` closes it, and so does whoever does not get there."""

    def __init__(
        self,
        following: Following,
        followed: Followed,
        *,
        key_id: str,
        read_page: ReadPage,
        since: Place | None,
    ) -> None:
        """Raises `Overloaded` where too many follow."""
        self._following = following
        self._followed = followed
        self._read_page = read_page
        self._since = since
        self._follower = following.admit(key_id)
        self._opening = self._begin()

    async def open(self) -> None:
        """On return nothing stands in the way of an answer. Raises `RequestError`, `StoreError`."""
        try:
            await anext(self._opening)
        except BaseException:
            self.close()
            raise

    async def send(
        self, request: web.BaseRequest, headers: Mapping[str, str], is_in_force: Check
    ) -> web.StreamResponse:
        """Answer, for as long as the client follows and `is_in_force` raises no `Unauthorized`."""
        more = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers={**headers, **more})
        response.force_close()
        try:
            await response.prepare(request)
            await self._send_all(request, response, is_in_force)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            await self._opening.aclose()
            self.close()
        return response

    def close(self) -> None:
        self._following.dismiss(self._follower, self._followed)

    async def _begin(self) -> AsyncGenerator[bytes, None]:
        """The first parts of the answer. An empty one stands for nothing; the first one tells that
        there will be others."""
        if self._since is not None:
            missed = self._following.catch_up(self._follower, self._followed, self._since)
            async with aclosing(missed):
                async for events in missed:
                    yield events
            return
        audience, place = await self._following.join(self._follower, self._followed)
        async with self._following.turn(self._follower.key_id):
            page = await self._read_page()
        yield b""
        yield to_event(b"page", audience.to_id(place), page) + audience.to_live(place)

    async def _send_all(
        self, request: web.BaseRequest, response: web.StreamResponse, is_in_force: Check
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._follower.attach(transport.get_write_buffer_size, transport.abort)
        await _write(response, to_retry())
        async for events in self._opening:
            await _write(response, events)
        clock = asyncio.get_running_loop().time
        beat = clock() + KEEP_ALIVE_SECONDS
        while self._follower.cause is None:
            await _write(response, await self._follower.next(beat - clock()))
            if clock() >= beat:
                beat += KEEP_ALIVE_SECONDS
                await self._check(is_in_force)
                await _write(response, self._to_keep_alive())

    async def _check(self, is_in_force: Check) -> None:
        try:
            await is_in_force()
        except Unauthorized:
            self._follower.end("revoked")
        except StoreError:
            return  # nobody knows, and the answer comes with the next beat

    def _to_keep_alive(self) -> bytes:
        if self._follower.cause is not None or self._follower.has_more:
            return b""
        audience = self._following.audience_of(self._followed)
        return to_keep_alive(audience.to_id(audience.place))


async def _write(response: web.StreamResponse, events: bytes) -> None:
    """Raises `TimeoutError` where the client does not take it."""
    if events:
        async with asyncio.timeout(MAX_SEND_SECONDS):
            await response.write(events)
