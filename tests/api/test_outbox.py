"""Clients that do not take their answers: bounded in memory, given up in the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from service.api import outbox
from service.errors import Overloaded
from service.observability import BYTES_UNSENT
from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, serving
from tests.factories import activity, event, record

MEBIBYTE = 1024 * 1024
LARGE = outbox.LARGE_BYTES + 1
PAGE_BYTES = 20 * MEBIBYTE


@pytest.fixture
async def api(mongo: Mongo) -> AsyncIterator[Api]:
    """One that may hold five pages, two for one key; two organizations have a listing of 20 MiB."""
    bounds = {"max_page_bytes": PAGE_BYTES + MEBIBYTE, "max_unsent_bytes": 5 * PAGE_BYTES}
    async with serving(mongo, **bounds, queue_max_seconds=0.2) as it:
        note = "n" * (PAGE_BYTES // 100)
        for organization in ("orga_1", "orga_2"):
            notes = [
                activity("Note", id=f"acti_{number}", note=note, organization_id=organization)
                for number in range(100)
            ]
            await it.apply(record(event(each)) for each in notes)
        yield it


@asynccontextmanager
async def asking(
    api: Api, path: str = "/activity/", *, times: int = 1, organization: str = "orga_1"
) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has asked, at once so many times, and reads only what it is told to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1024)
    line = f"GET {BASE_PATH}{path} HTTP/1.1"
    head = f"{line}\r\nHost: x\r\nAuthorization: Bearer {await api.key(organization)}\r\n\r\n"
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


async def test_a_key_that_does_not_read_is_refused_large_answers_and_nobody_else(api: Api) -> None:
    async with asking(api), asking(api):
        await until(lambda: unsent() > 2 * PAGE_BYTES)

        refused = await api.ask("/activity/")

        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        # Small ones it gets, and others get everything.
        assert (await api.ask("/activity/", [("_limit", "0")])).status == 200
        assert (await api.ask("/activity/", organization="orga_2")).status == 200

    await until(lambda: unsent() == 0)
    assert (await api.ask("/activity/")).status == 200


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


# --- the book of it -------------------------------------------------------------------------------
class Client:
    """Stands for a transport: what its client has not taken yet."""

    def __init__(self) -> None:
        self.left = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.is_aborted = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def box(clock: Clock) -> outbox.Outbox:
    return outbox.Outbox(10 * LARGE, clock)


def send(box: outbox.Outbox, key: str, size: int) -> tuple[outbox.Parcel, Client]:
    """An answer of which nothing was taken yet."""
    parcel, client = box.take(key, size), Client()
    client.left = size
    parcel.send(cast("asyncio.Transport", client))
    return parcel, client


async def test_a_key_has_half_of_the_room(box: outbox.Outbox) -> None:
    first = box.take("a", 3 * LARGE)
    box.take("a", 2 * LARGE)
    with pytest.raises(Overloaded):
        box.take("a", LARGE)
    box.take("b", 5 * LARGE)

    first.leave()
    first.leave()

    box.take("a", 3 * LARGE)
    assert unsent() == 10 * LARGE


async def test_who_has_nothing_here_gets_its_answer_however_large(box: outbox.Outbox) -> None:
    box.take("a", 50 * LARGE)

    with pytest.raises(Overloaded):
        box.take("a", LARGE)


async def test_ordinary_answers_are_never_refused_but_wait_for_room(box: outbox.Outbox) -> None:
    for _ in range(5):
        box.take("a", LARGE)
    assert box.admits("a")

    box.take("a", 1000)

    assert not box.admits("a")
    box.take("a", 1000)


async def test_an_answer_counts_while_it_is_compressed_and_then_as_what_comes_of_it(
    box: outbox.Outbox,
) -> None:
    parcel = box.take("a", 4 * LARGE)
    assert unsent() == 4 * LARGE

    parcel.resize(50)
    assert unsent() == 50

    parcel.leave()
    assert unsent() == 0


async def test_the_slowest_of_the_busiest_key_is_closed_when_all_is_full(
    box: outbox.Outbox, clock: Clock
) -> None:
    _, quick = send(box, "a", 2 * LARGE)
    _, slow = send(box, "a", 2 * LARGE)
    _, other = send(box, "b", 3 * LARGE)
    send(box, "c", 2 * LARGE)
    quick.left = LARGE
    clock.now += 1

    box.take("d", 2 * LARGE)

    assert (quick.is_aborted, slow.is_aborted, other.is_aborted) == (False, True, False)


async def test_who_will_not_make_it_in_time_makes_room_for_its_own_key(
    box: outbox.Outbox, clock: Clock
) -> None:
    _, stalled = send(box, "a", 2 * LARGE)
    _, steady = send(box, "a", 2 * LARGE)
    clock.now += 10
    steady.left = 0

    box.take("a", 3 * LARGE)

    assert (stalled.is_aborted, steady.is_aborted) == (True, False)


async def test_a_listing_is_known_by_the_size_of_its_last_answers(box: outbox.Outbox) -> None:
    box.learn("a", "/notes", 4 * outbox.LARGE_BYTES)
    assert box.is_large("a", "/notes")
    assert not box.is_large("a", "/calls")
    assert not box.is_large("b", "/notes")

    for _ in range(2):
        box.learn("a", "/notes", 10)

    assert not box.knows_large


async def test_where_there_is_no_room_for_what_a_key_usually_gets_it_is_not_let_in() -> None:
    box = outbox.Outbox(4 * MEBIBYTE)
    box.learn("a", "/notes", 2 * MEBIBYTE)
    assert box.admits_large("a")
    parcel = box.take("a", 1)

    assert not box.admits_large("a")
    assert box.admits("a")
    assert box.admits_large("b")

    parcel.leave()
    assert box.admits_large("a")


async def test_room_is_told_of(box: outbox.Outbox) -> None:
    told = asyncio.Event()
    box.tell_of_room(told.set)

    box.take("a", 10).leave()

    async with asyncio.timeout(5):
        await told.wait()
