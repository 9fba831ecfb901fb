"""Following a listing: the page, then what happens to it (contract 3.7)."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from pydantic import SecretStr
from yarl import URL

from deploy.local.folders import run_folder
from deploy.local.mongodb import MongoServer
from deploy.local.stack import running
from service.api import following as api_following
from service.api import stream as api_stream
from service.api.event_stream import to_event
from service.api.feed_log import FeedLog
from service.api.stream import Stream
from service.errors import StoreError
from service.observability import FOLLOWED_EVALUATIONS, FOLLOWERS_CLOSED
from service.settings import MongoSettings, RetentionSettings
from service.store.feed import get_time, has_reached
from service.store.indexes import ensure_indexes
from service.store.keys import revoke_key
from service.store.mongo import Mongo, connect
from tests.api.conftest import BASE_PATH, Api, serving
from tests.api.test_process import SECRET, environment
from tests.api.test_process import serving as serving_process
from tests.conftest import Driver
from tests.examples import IS_LONG
from tests.factories import record
from tests.following import Connection, Copy, Refused, following, names, until
from tests.store.conversations import deleting, setting
from tests.store.listing import apply

Event = dict[str, Any]


@asynccontextmanager
async def follow(
    api: Api,
    copy: Copy | None = None,
    path: str = "/activity/",
    organization: str = "orga_1",
    headers: Mapping[str, str] | None = None,
    **parameters: str,
) -> AsyncIterator[Connection]:
    url = URL(api.url + BASE_PATH + path) % parameters
    key = await api.key(organization)
    async with following(api.session, url, key, copy or Copy(), headers) as connection:
        await connection.until_live()
        yield connection


async def test_where_no_feed_is_kept_nobody_follows(mongo: Mongo) -> None:
    async with serving(replace(mongo, keeps_feed=False)) as api:
        await happen(api, note("acti_1", 1))
        refused = await api.ask("/activity/", headers={"Accept": "text/event-stream"})
        listed = await api.ask("/activity/", headers={"Accept": "*/*"})

        assert await mongo.feed.count_documents({}) == 0

    assert refused.status == 406
    (text,) = refused.content["errors"]
    assert "switched off" in text
    assert refused.content["error"] == text
    assert [row["id"] for row in listed.content["data"]] == ["acti_1"]


async def refusal(api: Api, copy: Copy | None = None, **more: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        async with follow(api, copy, **more):
            pass
    return raised.value


async def happen(api: Api, *events: Event) -> None:
    await api.apply(map(record, events))


def note(id_: str, revision: int, **fields: Any) -> Event:
    return setting(id_, revision, type_name="Note", **fields)


def told(copy: Copy) -> list[tuple[str, Any]]:
    """What came after the page, by name and id."""
    return [
        (event.name, event.data["id"]) for event in copy.events if event.name in ("set", "removed")
    ]


def has_more_than(count: int, copy: Copy) -> bool:
    return len(copy.events) > count


def closed(cause: str) -> float:
    value: float = FOLLOWERS_CLOSED.labels(cause)._value.get()
    return value


async def until_nobody_follows(*apis: Api) -> None:
    await until(lambda: not any(api.following.is_reading for api in apis))


@pytest.mark.parametrize("mongo_driver", ["pymongo", "motor"])
async def test_the_page_comes_first_and_then_what_happens(api: Api, mongo_driver: Driver) -> None:
    await happen(api, note("acti_1", 1, note="one"))

    async with follow(api) as connection:
        copy = connection.copy
        page = (await api.ask("/activity/")).content
        assert [(event.name, event.data) for event in copy.events] == [("page", page), ("live", {})]

        for event in (
            note("acti_2", 1, note="two"),
            note("acti_1", 2, note="one, changed"),
            deleting("acti_2", 2, type_name="Note"),
        ):
            count = len(copy.events)
            await happen(api, event)
            await connection.until(partial(has_more_than, count))

    assert names(copy.events) == ["page", "live", "set", "set", "removed"]
    assert copy.events[-1].data == {"id": "acti_2", "_type": "Note"}
    assert [*copy.rows.values()] == (await api.ask("/activity/")).content["data"]
    assert all(event.id for event in copy.events)
    assert connection.response.headers["Cache-Control"] == "no-cache"
    assert mongo_driver


async def test_nothing_is_read_while_nobody_follows(api: Api) -> None:
    assert not api.following.is_reading
    async with follow(api), follow(api):
        assert api.following.is_reading
    await until_nobody_follows(api)
    await happen(api, note("acti_1", 1))

    async with follow(api) as connection:
        assert names(connection.copy.events) == ["page", "live"]


async def test_a_lead_that_is_left_is_told_and_others_are_not(api: Api) -> None:
    await happen(api, note("acti_1", 1, lead_id="lead_1"))
    async with (
        follow(api, lead_id="lead_1") as old,
        follow(api, lead_id="lead_2") as new,
        follow(api, lead_id="lead_3") as other,
        follow(api, organization="orga_2") as foreign,
        follow(api, organization_id="orga_2") as empty,
    ):
        await happen(api, note("acti_1", 2, lead_id="lead_2"), note("acti_3", 1, lead_id="lead_3"))
        await old.until(lambda copy: told(copy) == [("removed", "acti_1")])
        await new.until(lambda copy: told(copy) == [("set", "acti_1")])
        await other.until(lambda copy: told(copy) == [("set", "acti_3")])

    for connection in (old, new, other, foreign, empty):
        assert len(told(connection.copy)) <= 1
    assert told(foreign.copy) == told(empty.copy) == []


async def test_what_was_missed_is_told_by_any_process(api: Api, mongo: Mongo) -> None:
    await happen(api, note("acti_1", 1), note("acti_2", 1))
    copy = Copy()
    async with serving(mongo) as other:
        async with follow(api, copy):
            pass
        await happen(api, note("acti_1", 2, note="changed"), note("acti_3", 1))
        await happen(api, deleting("acti_2", 2, type_name="Note"))
        copy.events.clear()

        async with follow(other, copy, _fields="id,_type", _limit="3"):
            pass

    assert sorted(told(copy)) == [("removed", "acti_2"), ("set", "acti_1"), ("set", "acti_3")]
    assert names(copy.events)[-1] == "live"
    assert "page" not in names(copy.events)
    assert copy.events[-1].id != copy.events[0].id


async def test_an_id_in_the_middle_tells_the_rest_again(api: Api) -> None:
    copy = Copy()
    async with follow(api, copy) as connection:
        await happen(api, *(note(f"acti_{n}", 1) for n in range(5)))
        await connection.until(lambda copy: len(told(copy)) == 5)
        after_first = copy.events[2].id
    await until_nobody_follows(api)

    again = Copy(last_id=after_first)
    async with follow(api, again):
        pass

    assert {id_ for _, id_ in told(again)} >= {id_ for _, id_ in told(copy)[1:]}


@pytest.mark.parametrize("remembered", [1, 10**6])
async def test_far_behind_is_told_in_parts(
    api: Api, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(api_following, "FeedLog", partial(FeedLog, remembered))
    monkeypatch.setattr(api_following, "MAX_AWAY_SECONDS", 0 if remembered == 1 else 300)
    copy = Copy()
    async with follow(api, copy):
        pass
    await until_nobody_follows(api)
    for start in range(0, 250, 50):
        await happen(api, *(note(f"acti_{n}", 1) for n in range(start, start + 50)))

    async with follow(api, copy):
        assert len(copy.rows) == 250


async def test_an_id_is_of_one_listing_alone(api: Api) -> None:
    own: dict[str, Any] = {"lead_id": "lead_1", "date_created__gte": "2026-01-01"}
    async with follow(api, **own) as connection:
        good = connection.copy.last_id
    for wrong, more in (
        (good[:-1], own),
        (f"{good[:9]}{'A' if good[9] != 'A' else 'B'}{good[10:]}", own),
        ("é", own),
        ("x" * 5000, own),
        (good, own | {"organization": "orga_2"}),
        (good, own | {"path": "/activity/note/"}),
        (good, own | {"lead_id": "lead_2"}),
        (good, own | {"thread_emails": "only"}),
        (good, own | {"headers": {"X-TZ-Offset": "5"}}),
    ):
        sent = {"Last-Event-ID": wrong, **more.pop("headers", {})}
        refused = await refusal(api, headers=sent, **more)
        assert refused.status == 400, (wrong, more)
        assert "Last-Event-ID" in refused.content["error"]
    again = Copy()
    own |= {"_since": good}
    async with follow(api, again, **own, _limit="1"):
        assert names(again.events) == ["live"]


@pytest.mark.parametrize("name", ["_skip", "_cursor"])
async def test_paging_is_refused(api: Api, name: str) -> None:
    parameters: dict[str, Any] = {name: "0"}
    refused = await refusal(api, **parameters)

    assert refused.status == 400
    assert set(refused.content["field-errors"]) == {name}


async def test_what_is_no_longer_kept_is_gone(mongo: Mongo) -> None:
    async with serving(mongo, feed_hours=0.5 / 3600) as api:
        async with follow(api) as connection:
            copy = connection.copy
        old = Copy(last_id=copy.last_id)
        began = time.monotonic()
        while (refused := await tried(api, old)) is None:
            assert time.monotonic() < began + 10
            await asyncio.sleep(0.05)

    assert refused.status == 410
    assert "anew" in refused.content["error"]
    assert set(refused.content) == {"error", "errors", "field-errors"}


async def tried(api: Api, copy: Copy) -> Refused | None:
    try:
        async with follow(api, Copy(last_id=copy.last_id)):
            return None
    except Refused as refused:
        return refused


async def test_an_oplog_that_has_rolled_over_is_gone(database_name: str) -> None:
    """A real one, of a megabyte."""
    with run_folder() as folder:
        # It is cut off up to the last checkpoint: one a second.
        server = MongoServer(folder / "mongodb", oplog_megabytes=1, arguments=("--syncdelay", "1"))
        async with running(server):
            settings = MongoSettings(url=SecretStr(server.url), database=database_name)
            async with connect(settings, keeps_feed=True) as mongo, serving(mongo) as api:
                await ensure_indexes(mongo, RetentionSettings(feed_hours=24))
                async with follow(api) as connection:
                    copy = connection.copy
                await until_nobody_follows(api)
                filling = mongo.client[database_name]["filling"]
                began = time.monotonic()
                while (refused := await tried(api, copy)) is None:
                    assert time.monotonic() < began + 60
                    await filling.insert_many([{"text": "x" * 100_000} for _ in range(100)])

                async with follow(api) as anew:
                    await happen(api, note("acti_1", 1))
                    await anew.until(lambda copy: told(copy) == [("set", "acti_1")])

    assert refused.status == 410


async def test_followers_have_a_limit_and_a_key_half_of_it(mongo: Mongo) -> None:
    async with serving(mongo, max_followers=4) as api:
        async with follow(api), follow(api):
            refused = await refusal(api)
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) >= 1
            async with follow(api, organization="orga_2"), follow(api, organization="orga_2"):
                assert (await refusal(api, organization="orga_3")).status == 503
            assert (await api.ask("/activity/")).status == 200
        await until_nobody_follows(api)
        async with follow(api), follow(api):
            pass


async def test_a_follower_counts_once_on_the_rate(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="2/day") as api:
        async with follow(api) as connection:
            assert "remaining=1" in connection.response.headers["RateLimit"]
            await happen(api, note("acti_1", 1))
            await connection.until(lambda copy: len(told(copy)) == 1)
            assert (await api.ask("/activity/")).status == 200
        assert (await refusal(api)).status == 429


async def test_who_is_idle_is_kept_and_told_how_far_it_has_come(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_stream, "KEEP_ALIVE_SECONDS", 0.1)
    async with follow(api, lead_id="lead_1") as connection:
        first = connection.copy.last_id
        await happen(api, note("acti_2", 1, lead_id="lead_2"))
        await connection.until(lambda copy: copy.last_id != first)

    assert names(connection.copy.events) == ["page", "live"]


async def test_a_key_that_is_revoked_follows_no_more(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_stream, "KEEP_ALIVE_SECONDS", 0.05)
    before = closed("revoked")
    async with serving(mongo, key_cache_seconds=0) as api, follow(api) as connection:
        await revoke_key(mongo, (await api.key()).partition(".")[0])
        await connection.until_ended()

    assert closed("revoked") == before + 1


async def test_followers_of_one_listing_cost_one_evaluation(api: Api) -> None:
    async with (
        follow(api, lead_id="lead_1") as one,
        follow(api, lead_id="lead_1", _limit="2") as two,
    ):
        before = FOLLOWED_EVALUATIONS._value.get()
        await happen(api, note("acti_1", 1), note("acti_2", 1, lead_id="lead_2"))
        for connection in (one, two):
            await connection.until(lambda copy: told(copy) == [("set", "acti_1")])

    assert FOLLOWED_EVALUATIONS._value.get() == before + 1


async def test_who_reads_too_slowly_is_closed_and_comes_again(mongo: Mongo) -> None:
    before = closed("slow")
    events = [note(f"acti_{n}", 1, note="x" * 400_000) for n in range(60)]
    async with serving(mongo) as api, follow(api) as quick:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", api.port))
            question = (
                f"GET {BASE_PATH}/activity/?_limit=0 HTTP/1.1\r\nHost: h\r\n"
                f"Accept: text/event-stream\r\nAuthorization: Bearer {await api.key()}\r\n\r\n"
            )
            slow.sendall(question.encode())
            for event in events:
                await happen(api, event)
            await until(lambda: closed("slow") > before)
        await quick.until(lambda copy: len(copy.rows) == len(events))

        async with follow(api, Copy(last_id=quick.copy.events[1].id)) as again:
            assert len(again.copy.rows) == len(events)


async def test_the_place_is_taken_before_the_page_is_read(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens right after the page was read is told, and were it not, this would show."""
    counts = []
    for begin in (Stream._begin, begin_with_the_page):
        monkeypatch.setattr(Stream, "_begin", begin)
        await mongo_is_empty(api)
        original = api_stream.Stream.__init__

        def happen_after_the_page(self: Stream, *arguments: Any, **options: Any) -> None:
            read_page = options["read_page"]

            async def read_and_happen() -> bytes:
                page: bytes = await read_page()
                await happen(api, note("acti_1", 1))
                return page

            original(self, *arguments, **options | {"read_page": read_and_happen})  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(Stream, "__init__", happen_after_the_page)
            async with follow(api, lead_id="lead_1") as connection:
                await happen(api, note("acti_2", 1))
                await connection.until(lambda copy: ("set", "acti_2") in told(copy))
        counts.append(len(connection.copy.rows))

    assert counts == [2, 1]


async def begin_with_the_page(stream: Stream) -> AsyncIterator[bytes]:
    page = await stream._read_page()
    now = await get_time(stream._following._mongo)
    await stream._following._wait(lambda: has_reached(stream._following._log.place.position, now))
    audience, place = await stream._following.join(stream._follower, stream._followed)
    yield b""
    yield to_event(b"page", audience.to_id(place), page) + audience.to_live(place)


async def mongo_is_empty(api: Api) -> None:
    await api.mongo.activities.delete_many({})
    await until_nobody_follows(api)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/event-stream", "text/event-stream"),
        ("Text/Event-Stream;q=0.9, */*;q=0.1", "text/event-stream"),
        ("text/event-stream;q=0.5, application/json", "application/json"),
        ("text/event-stream;q=0", "application/json"),
        ("*/*", "application/json"),
    ],
)
async def test_events_are_for_who_would_rather_have_them(
    api: Api, accept: str, media_type: str
) -> None:
    headers = {"Authorization": f"Bearer {await api.key()}", "Accept": accept}
    url = f"{api.url}{BASE_PATH}/activity/"
    async with api.session.get(url, headers=headers) as response:
        assert response.content_type == media_type
        assert "Accept" in response.headers["Vary"]
    async with api.session.head(url, headers=headers) as response:
        assert response.content_type == "application/json"


async def test_httpx_sse_follows(api: Api) -> None:
    await happen(api, note("acti_1", 1))
    headers = {"Authorization": f"Bearer {await api.key()}"}
    url = f"{api.url}{BASE_PATH}/activity/"
    received = []
    async with (
        httpx.AsyncClient(headers=headers) as client,
        aconnect_sse(client, "GET", url) as source,
    ):
        async for event in source.aiter_sse():
            received.append((event.event, bool(event.id), event.retry))
            if event.event == "live":
                break

    assert [name for name, _, _ in received if name in ("page", "live")] == ["page", "live"]
    assert all(has_id for name, has_id, _ in received if name in ("page", "live"))


async def test_a_step_down_of_mongodb_is_got_over(
    breakable_mongo_server: MongoServer, database_name: str
) -> None:
    settings = MongoSettings(url=SecretStr(breakable_mongo_server.url), database=database_name)
    async with connect(settings, keeps_feed=True) as mongo, serving(mongo) as api:
        await ensure_indexes(mongo, RetentionSettings(feed_hours=24))
        async with follow(api) as connection:
            await mongo.client.admin.command({"replSetStepDown": 1, "force": True})
            await breakable_mongo_server.recover()
            await happen_in_the_end(mongo, [note("acti_1", 1)])
            await connection.until(lambda copy: told(copy) == [("set", "acti_1")])


async def happen_in_the_end(mongo: Mongo, events: Iterable[Event]) -> None:
    while True:
        try:
            return await apply(mongo, map(record, events))
        except StoreError:
            await asyncio.sleep(0.1)


@asynccontextmanager
async def patiently(
    connect: Callable[[], AbstractAsyncContextManager[Connection]],
) -> AsyncIterator[Connection]:
    """As clients do: who is told to come later comes later."""
    async with AsyncExitStack() as stack:
        while True:
            try:
                connection = await stack.enter_async_context(connect())
                break
            except Refused as refused:
                if refused.status != 503:
                    raise
                await asyncio.sleep(0.05)
        yield connection


async def test_a_process_that_ends_hands_its_followers_over(
    mongo: Mongo, mongo_settings: MongoSettings
) -> None:
    """As in a rolling update: they go one after the other, come again elsewhere, and miss nothing."""
    count = 500 if IS_LONG else 40
    url = mongo_settings.url.get_secret_value()
    variables = environment(
        url,
        mongo_settings.database,
        ACTIVITY_DRAIN_DELAY_SECONDS="1",
        ACTIVITY_RATE_LIMIT="",
        ACTIVITY_FEED_HOURS="24",
    )
    ends: list[float] = []
    same_secret: dict[str, Any] = {"cursor_secret": SecretStr(SECRET)}
    async with serving(mongo, **same_secret) as here, serving_process(variables) as service:
        key = await here.key()
        copies = [Copy() for _ in range(count)]

        async def follow_there_and_here(copy: Copy) -> None:
            url = f"{service.url}/activity/?lead_id=lead_1"
            async with patiently(lambda: following(here.session, url, key, copy)) as connection:
                await connection.until_ended()
                ends.append(time.monotonic())
            async with patiently(lambda: follow(here, copy, lead_id="lead_1")) as connection:
                await connection.until(lambda copy: len(copy.rows) == 30)

        follows = [asyncio.create_task(follow_there_and_here(copy)) for copy in copies]
        await until(lambda: all(copy.is_live for copy in copies))
        service.process.send_signal(signal.SIGTERM)
        told_at = time.monotonic()
        for number in range(30):
            await happen(here, note(f"acti_{number}", 1))
            await asyncio.sleep(0.04)
        await asyncio.gather(*follows)
        status, _ = await service.end()

    assert status == 0
    assert max(ends) - told_at < 5
    assert max(ends) - min(ends) > 0.5
