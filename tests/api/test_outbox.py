"""Clients that do not take their answers: bounded in memory, given up in the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.api import outbox
from service.errors import Overloaded
from service.observability import BYTES_UNSENT
from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, serving
from tests.factories import activity, event, record

MEBIBYTE = 1024 * 1024
PAGE_BYTES = 20 * MEBIBYTE


@pytest.fixture
async def api(mongo: Mongo) -> AsyncIterator[Api]:
    """One that may hold a page and a bit, with a listing of 20 MiB."""
    async with serving(mongo, max_requests_in_flight=1, max_page_bytes=PAGE_BYTES + MEBIBYTE) as it:
        note = "n" * (PAGE_BYTES // 100)
        ids = [f"acti_{number}" for number in range(100)]
        await it.apply(record(event(activity("Note", id=id_, note=note))) for id_ in ids)
        yield it


@asynccontextmanager
async def asking(
    api: Api, path: str = "/activity/", *, times: int = 1
) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has asked, at once so many times, and reads only what it is told to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1024)
    line = f"GET {BASE_PATH}{path} HTTP/1.1"
    head = f"{line}\r\nHost: x\r\nAuthorization: Bearer {await api.key()}\r\n\r\n"
    writer.write(head.encode() * times)
    try:
        yield reader
    finally:
        writer.transport.abort()


def unsent() -> float:
    (metric,) = BYTES_UNSENT.collect()
    return metric.samples[0].value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_what_clients_do_not_take_is_bounded(api: Api) -> None:
    async with asking(api), asking(api):
        await until(lambda: unsent() > 2 * PAGE_BYTES)

        refused = await api.ask("/activity/")

        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1

    await until(lambda: unsent() == 0)
    assert (await api.ask("/activity/")).status == 200


async def test_an_outbox_filled_to_the_byte_has_no_room() -> None:
    box = outbox.Outbox(max_bytes=10)
    taken = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(box.send(10, taken))
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        box.require_room()

    taken.set_result(None)
    await sending
    box.require_room()


async def test_who_reads_slowly_gets_everything(api: Api) -> None:
    async with asking(api) as reader:
        await until(lambda: unsent() > 0)

        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(PAGE_BYTES)

        assert head.startswith(b"HTTP/1.1 200 ")
        assert body.startswith(b'{"has_more":false')


async def test_who_takes_nothing_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_SEND_SECONDS", 0.5)

    async with asking(api) as reader:
        await until(lambda: unsent() > 0)
        await until(lambda: unsent() == 0)

        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(PAGE_BYTES)


async def test_small_answers_behind_one_another_are_bounded_too(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes out at once where the connection is free; here the one before is in the way."""
    monkeypatch.setattr(outbox, "MAX_SEND_SECONDS", 0.5)
    await api.apply([record(event(activity("Note", id="acti_small", note="n" * 60_000)))])

    async with asking(api, "/activity/acti_small/", times=300) as reader:
        await until(lambda: unsent() > 0)
        await until(lambda: unsent() == 0)

        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(300 * 60_000)
