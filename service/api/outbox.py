"""Answers on their way to their clients, who may be slow to take them.

An answer gives its place in `Capacity` back when it is made: who takes it slowly keeps nobody else
from being answered. But it stays in memory until it is taken, so the bytes that wait are counted and
bounded, and none waits longer than `MAX_SEND_SECONDS`.
"""

import asyncio
from collections.abc import Awaitable, Mapping

from aiohttp import web

from service.errors import Overloaded
from service.observability import BYTES_UNSENT, REQUESTS_REFUSED

# A client behind a proxy takes the largest page at once, one at 5 Mbit/s in time.
MAX_SEND_SECONDS = 60.0
# What a connection that has sent everything takes over without waiting for its client.
_NEVER_WAITS_BYTES = 64 * 1024


class Outbox:
    """The bytes of large answers that have not been taken yet, all clients together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        BYTES_UNSENT.set_function(lambda: self._bytes)

    def require_room(self) -> None:
        """Raises `Overloaded` where clients have left too much untaken for another answer."""
        if self._bytes >= self._max_bytes:
            REQUESTS_REFUSED.inc()
            raise Overloaded("Too many answers wait for their clients. Please ask again later.")

    async def send(self, size: int, sending: Awaitable[None]) -> None:
        """Raises `TimeoutError` where it takes too long."""
        self._bytes += size
        try:
            async with asyncio.timeout(MAX_SEND_SECONDS):
                await sending
        finally:
            self._bytes -= size


class OutgoingResponse(web.Response):
    """A response that is in the outbox while it is written. A client that does not take it in time
    loses its connection."""

    def __init__(
        self, outbox: Outbox, *, body: bytes, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(body=body, status=status, headers=headers)
        self._outbox = outbox
        self._size = len(body)

    async def write_eof(self, data: bytes = b"") -> None:
        transport = None if self._req is None else self._req.transport
        is_free = transport is None or not transport.get_write_buffer_size()
        if is_free and self._size <= _NEVER_WAITS_BYTES:
            return await super().write_eof(data)
        try:
            await self._outbox.send(self._size, super().write_eof(data))
        except TimeoutError:
            if transport is not None:
                transport.abort()
            raise ConnectionResetError("the client does not take its answer") from None
        return None
