"""An HTTP client of which as little as possible is its own: it shares the cores with what it measures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the headers that it wants."""

    port: int
    headers: bytes = b""


class Answer(NamedTuple):
    """The head of an answer; its body is counted, and not kept."""

    status: int
    head: bytes


class Connection(asyncio.Protocol):
    """One connection that stays open, for one question after the other."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Answer]
        self._head = b""
        self._left: int | None = None

    async def ask(self, path: str) -> Answer:
        """Raises `ConnectionError` where the server hangs up."""
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._left = b"", None
        question = b"GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n" % (path.encode(), self._target.headers)
        self._transport.write(question)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._read_head(data)
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answer.set_result(Answer(int(self._head[9:12]), self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server hung up"))

    def _read_head(self, data: bytes) -> None:
        head, end, body = (self._head + data).partition(_HEAD_END)
        self._head = head
        if end:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self._left = length - len(body)


async def connect(target: Target) -> Connection:
    """To be closed by the caller."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(target), "127.0.0.1", target.port
    )
    return connection


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Connection]:
    connection = await connect(target)
    try:
        yield connection
    finally:
        connection.close()
