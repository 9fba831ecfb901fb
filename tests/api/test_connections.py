"""How many connections there are, and what is said on them that is not quite HTTP/1.1."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.api.app import OTHER_DESCRIPTORS, to_max_connections
from service.store.mongo import Mongo
from tests.api.conftest import Api, serving
from tests.api.test_failures import talk, with_key

DEADLINE_SECONDS = 20.0
ME = b"GET /api/v1/me/ HTTP/1.1\r\nHost: x\r\n\r\n"
OVERRIDE = b"Host: x\r\nX-HTTP-Method-Override: GET\r\n"


class Client:
    """One connection, and what is said on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The first line of the answer, of which the rest is read, too; `b""` where it was closed."""
        self.writer.write(request)
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
                await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
        return head.split(b"\r\n")[0]

    async def is_closed(self) -> bool:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.read() == b""


@asynccontextmanager
async def connected(api: Api, count: int) -> AsyncIterator[list[Client]]:
    clients = [Client(*await asyncio.open_connection("127.0.0.1", api.port)) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.close()


async def test_a_new_connection_takes_the_place_of_the_longest_idle(
    mongo: Mongo, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(mongo, max_connections=3) as api:
        me = await with_key(api, ME)
        async with connected(api, 3) as (first, second, third):
            for client in (second, third, first):
                assert await client.ask(me) == b"HTTP/1.1 200 OK"
            with caplog.at_level(logging.WARNING, "service"):
                async with connected(api, 2) as (fourth, fifth):
                    for client in (fourth, fifth, first):
                        assert await client.ask(me) == b"HTTP/1.1 200 OK"
                    assert await second.is_closed()
                    assert await third.is_closed()

    told = [entry for entry in caplog.records if entry.message == "too many connections"]
    assert len(told) == 1


async def test_where_all_are_at_work_one_more_is_told_to_come_again(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, end = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> bytes:
        at_work.set()
        await end.wait()
        return b""

    monkeypatch.setattr("service.api.gate.read_parameters", wait)
    async with serving(mongo, max_connections=1) as api:
        me = await with_key(api, ME)
        async with connected(api, 1) as (busy,):
            asked = asyncio.create_task(busy.ask(me))
            await at_work.wait()
            async with connected(api, 1) as (late,):
                assert await late.ask(b"") == b"HTTP/1.1 503 Service Unavailable"
            end.set()
            assert await asked == b"HTTP/1.1 200 OK"


def test_there_are_no_more_connections_than_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (1024, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.update(now=both))

    assert to_max_connections(500) == 500
    assert to_max_connections(4096) == 1024 - OTHER_DESCRIPTORS
    limits["now"] = (1024, 1_000_000)
    assert to_max_connections(4096) == 4096
    assert limits["now"] == (4096 + OTHER_DESCRIPTORS, 1_000_000)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /api/v1/me/ HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"POST /api/v1/activity/ HTTP/1.1\r\n" + OVERRIDE + b"Content-Encoding: br\r\n"
         b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", 415),
        (b"POST /api/v1/activity/ HTTP/1.1\r\n" + OVERRIDE + b"Content-Encoding: nonsense\r\n"
         b"Content-Length: 2\r\nConnection: close\r\n\r\n{}", 415),
    ],
)  # fmt: skip
async def test_what_is_not_spoken_here_is_said_so(api: Api, sent: bytes, status: int) -> None:
    ((answered, body),) = await talk(api, await with_key(api, sent))

    assert answered == status
    assert b'"field-errors"' in body


async def test_http_1_0_gets_no_100_continue(api: Api) -> None:
    head = OVERRIDE + b"Expect: 100-continue\r\nContent-Length: 2\r\n"
    for version, first in ((b"1.0", b"HTTP/1.0 200 OK"), (b"1.1", b"HTTP/1.1 100 Continue")):
        sent = b"POST /api/v1/activity/ HTTP/%b\r\n" % version + head + b"\r\n{}"
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(await with_key(api, sent))
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert (await reader.readline()).strip() == first
        writer.close()
