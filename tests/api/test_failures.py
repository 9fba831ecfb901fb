"""What is answered when it cannot be answered: 5xx, overload, nonsense (contract 3.6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from service.api import parameters
from service.api.failures import to_error_answer
from service.api.readiness import Readiness
from service.errors import (
    Halted,
    InvalidRequest,
    NotFound,
    StoreTimeout,
    StoreUnavailable,
)
from service.observability import REQUESTS_IN_FLIGHT
from service.settings import MongoSettings, RetentionSettings
from service.store import mongo as store
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from tests.api.conftest import BASE_PATH, Api, Reply, serving
from tests.factories import activity, event, record
from tests.store.refusing import way_to

DEADLINE_SECONDS = 20.0


def check_later(reply: Reply, status: int) -> None:
    """Sync clients read `rate_reset` at top level and die on a text as `error`."""
    assert reply.status == status
    seconds = int(reply.headers["Retry-After"])
    assert seconds >= 1
    content = reply.content
    assert set(content) == {"error", "errors", "field-errors", "rate_reset"}
    assert content["rate_reset"] == content["error"]["rate_reset"] == seconds
    assert content["errors"] == [content["error"]["message"]]
    for internal in ("27017", "127.0.0.1", "pymongo", "Mongo", "Traceback", "maxTimeMS"):
        assert internal not in reply.body.decode()


@asynccontextmanager
async def connected(server: MongoServer, database: str, **timeouts: Any) -> AsyncIterator[Mongo]:
    """A connection to a fresh database with all indexes, on a server that nobody else needs."""
    settings = MongoSettings(url=SecretStr(server.url), database=database, **timeouts)
    async with connect(settings) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        yield mongo
        # A connection can only be closed properly to a server that answers.
        await server.recover()


@pytest.fixture
async def breakable(
    breakable_mongo_server: MongoServer, database_name: str
) -> AsyncIterator[Mongo]:
    """A connection of short patience to the MongoDB that may be broken."""
    timeouts = {"timeout_seconds": 0.5, "socket_timeout_seconds": 0.8}
    async with connected(breakable_mongo_server, database_name, **timeouts) as mongo:
        yield mongo


@pytest.fixture
async def patient(breakable_mongo_server: MongoServer, database_name: str) -> AsyncIterator[Mongo]:
    """A connection to the same that waits longer than any test."""
    async with connected(breakable_mongo_server, database_name) as mongo:
        yield mongo


async def set_failpoint(mongo: Mongo, name: str, **options: Any) -> None:
    await mongo.client.admin.command({"configureFailPoint": name, **options})


async def wait_for_requests(count: int) -> None:
    """Until so many requests are being worked on."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            (metric,) = REQUESTS_IN_FLIGHT.collect()
            if metric.samples[0].value == count:
                return
            await asyncio.sleep(0.01)


async def wait_for_finds(mongo: Mongo, count: int) -> None:
    """Until MongoDB works on so many finds of these activities."""
    of_ours = {"$match": {"ns": mongo.activities.full_name, "command.find": {"$exists": True}}}
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            cursor = await mongo.client.admin.aggregate([{"$currentOp": {}}, of_ours])
            if len(await cursor.to_list()) == count:
                return
            await asyncio.sleep(0.01)


async def test_mongodb_away_is_a_503(breakable: Mongo, breakable_mongo_server: MongoServer) -> None:
    async with serving(breakable) as api:
        assert (await api.ask("/activity/")).status == 200
        breakable_mongo_server.kill()

        for path in ("/activity/", "/activity/note/", "/activity/acti_1/"):
            check_later(await api.ask(path), 503)
        # A key that was asked for a moment ago is believed without asking.
        assert (await api.ask("/me/")).status == 200

        await breakable_mongo_server.start()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await api.ask("/activity/")).status != 200:
                pass


async def test_an_unknown_key_is_a_503_while_mongodb_is_away(
    breakable: Mongo, breakable_mongo_server: MongoServer
) -> None:
    async with serving(breakable) as api:
        breakable_mongo_server.kill()
        key = f"key_{'0' * 24}.{'a' * 43}"
        headers = {"Authorization": f"Bearer {key}"}

        async with api.session.get(f"{api.url}{BASE_PATH}/me/", headers=headers) as response:
            reply = Reply(response.status, response.headers, await response.read())

        check_later(reply, 503)


async def test_a_mongodb_that_says_nothing_is_a_503(
    breakable: Mongo, breakable_mongo_server: MongoServer
) -> None:
    async with serving(breakable) as api:
        await api.ask("/activity/")
        breakable_mongo_server.pause()

        check_later(await api.ask("/activity/"), 503)


async def test_a_probe_is_answered_soon_beside_a_silent_mongodb(
    patient: Mongo, breakable_mongo_server: MongoServer
) -> None:
    readiness = Readiness(patient)
    assert await readiness.check() is None
    breakable_mongo_server.pause()

    async with asyncio.timeout(3):
        assert await readiness.check() == "MongoDB does not answer"


async def test_a_login_that_is_refused_for_long_ends_the_process(
    mongo_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOGIN_PATIENCE_SECONDS", 0.5)
    url = SecretStr(mongo_server.url.replace("//", "//me:changed@"))
    async with connect(MongoSettings(url=url, timeout_seconds=5)) as mongo:
        readiness = Readiness(mongo)
        assert "refuses the user or password" in (await readiness.check() or "")

        with pytest.raises(Halted, match="refuses the user or password of ACTIVITY_MONGO_URL"):
            await asyncio.wait_for(readiness.watch(), 20)


async def test_a_slow_query_is_a_504_that_says_what_helps(breakable: Mongo) -> None:
    async with serving(breakable) as api:
        await api.apply([record(event(activity("Call")))])
        await api.ask("/me/")  # the key is known from then on
        await set_failpoint(breakable, "maxTimeAlwaysTimeOut", mode="alwaysOn")
        try:
            reply = await api.ask("/activity/call/", [("user_id", "user_1")])
        finally:
            await set_failpoint(breakable, "maxTimeAlwaysTimeOut", mode="off")

    check_later(reply, 504)
    message = reply.content["error"]["message"]
    assert "No index answers user_id" in message
    assert "date_created__gte" in message
    assert "one lead_id" in message


async def test_the_time_limit_of_a_query_is_a_setting(mongo: Mongo) -> None:
    async with serving(mongo, query_max_seconds=0.000_001) as api:
        check_later(await api.ask("/activity/"), 504)
        check_later(await api.ask("/activity/acti_1/"), 504)


async def test_a_client_that_hangs_up_cancels_its_query(patient: Mongo) -> None:
    async with serving(patient, query_max_seconds=300) as api:
        await api.ask("/activity/")
        point = "waitInFindBeforeMakingBatch"
        block = {"nss": patient.activities.full_name, "shouldCheckForInterrupt": True}
        await set_failpoint(patient, point, mode="alwaysOn", data=block)
        try:
            asked = asyncio.create_task(api.ask("/activity/"))
            await wait_for_finds(patient, 1)

            asked.cancel()

            with suppress(asyncio.CancelledError):
                await asked
            await wait_for_requests(0)
            await wait_for_finds(patient, 0)
        finally:
            await set_failpoint(patient, point, mode="off")


async def test_a_missing_index_is_a_503(mongo: Mongo) -> None:
    async with serving(mongo) as api:
        await mongo.activities.drop_index("organization_date_created")
        check_later(await api.ask("/activity/"), 503)

        await api.readiness.look()

        check_later(await api.ask("/activity/note/"), 503)


async def test_over_capacity_is_a_503_in_time(
    patient: Mongo, breakable_mongo_server: MongoServer
) -> None:
    """Where nothing goes on, nobody waits for longer than the queue's bound for a turn."""
    async with serving(patient, queue_max_seconds=0.2) as api:
        await api.ask("/activity/")
        breakable_mongo_server.pause()
        asked = [asyncio.create_task(api.ask("/activity/")) for _ in range(60)]

        async with asyncio.timeout(DEADLINE_SECONDS / 2):
            done, working = await asyncio.wait(asked, timeout=DEADLINE_SECONDS / 4)

        assert done
        for task in done:
            check_later(await task, 503)
            assert "capacity" in (await task).body.decode()
        breakable_mongo_server.resume()
        assert {reply.status for reply in await asyncio.gather(*working)} == {200}


async def test_whatever_mongodb_says_of_a_query_is_a_503(mongo: Mongo, mongo_server: Any) -> None:
    """Of an activity, of a listing and of a key: codes of the server's list, and one to come."""
    settings = {"database": mongo.activities.database.name, "timeout_seconds": 10}
    async with (
        way_to(mongo_server.url) as way,
        connect(MongoSettings(url=SecretStr(way.url), **settings)) as connection,
        serving(connection, key_cache_seconds=0) as api,
    ):
        for code in (1, 2, 8, 13, 82, 94, 96, 211, 292, 371, 433, 449, 462, 4242, 11000):
            for path in ("/activity/", "/activity/acti_1/", "/me/"):
                assert (await api.ask(path)).status in (200, 404)
                way.fail("find", code, times=3)
                check_later(await api.ask(path), 503)
                way.fail("find", code, times=0)


async def test_a_defect_of_ours_is_a_500_without_its_inside(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret inside")

    monkeypatch.setattr("service.api.handlers.parse_query", fail)

    reply = await api.ask("/activity/", headers={"X-Request-Id": "trace-7"})

    assert reply.status == 500
    assert set(reply.content) == {"error", "errors", "field-errors"}
    assert "secret" not in reply.body.decode()
    (logged,) = [entry for entry in caplog.records if entry.name.startswith("service.api")]
    assert logged.__dict__["request_id"] == "trace-7"
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError


def test_the_table_of_failures() -> None:
    assert to_error_answer(NotFound("x")).status == 404
    assert to_error_answer(StoreUnavailable("27017")).status == 503
    assert to_error_answer(StoreTimeout("27017")).status == 504
    assert to_error_answer(KeyError("x")).status == 500
    answer = to_error_answer(InvalidRequest("_limit: no", parameter="_limit"))
    assert (
        answer.body == b'{"error":"_limit: no","errors":[],"field-errors":{"_limit":"_limit: no"}}'
    )


def test_what_a_client_sent_is_cut_and_made_printable() -> None:
    error = InvalidRequest("\udcff" + "x" * 100_000, parameter="\udcff")

    answer = to_error_answer(error)

    assert answer.body.startswith(b'{"error":"?xxx')
    assert len(answer.body) < 5000


# --- bytes that are no request --------------------------------------------------------------------


async def talk(api: Api, sent: bytes, *, breaks_off: bool = False) -> list[tuple[int, bytes]]:
    """Statuses and bodies of what is answered to these bytes, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(sent)
    if breaks_off:
        writer.write_eof()
    async with asyncio.timeout(DEADLINE_SECONDS):
        received = await reader.read()
    writer.close()
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        answers.append((int(head.split(b" ", 2)[1]), rest[:length]))
        received = rest[length:]
    return answers


def request(target: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """The server closes behind its answer."""
    first = b"%b %b HTTP/1.1" % (method, target)
    return b"\r\n".join([first, b"Host: x", b"Connection: close", *headers, b"", body])


ACTIVITY = b"/api/v1/activity/"
OVERRIDE = b"X-HTTP-Method-Override: GET"
NONSENSE: list[tuple[bytes, set[int]]] = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    (b"GET\r\n\r\n", {400}),
    (b"GET / HTTP/9.9\r\n\r\n", {400}),
    (b"BREW /api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    (request(b"/" + b"a" * 20_000), {414}),
    (request(ACTIVITY + b"?lead_id=" + b"a," * 9_000), {414}),
    (request(ACTIVITY, b"X: " + b"a" * 20_000), {400}),
    (request(ACTIVITY, *[b"X-%d: a" % number for number in range(200)]), {400}),
    (request(ACTIVITY, b"No colon"), {400}),
    (request(ACTIVITY, b"Bad\x00Name: x"), {400}),
    (request(ACTIVITY, b"X: a\x00b"), {400}),
    (request(ACTIVITY, b"Content-Length: 5", b"Content-Length: 6"), {400}),
    (request(ACTIVITY, b"Content-Length: -1"), {400}),
    (request(ACTIVITY, b"Content-Length: 5", b"Transfer-Encoding: chunked"), {400}),
    (request(ACTIVITY, b"Transfer-Encoding: chunked", body=b"zz\r\n"), {400}),
    (request(ACTIVITY + b"?lead_id=\xff\xfe"), {400}),
    (request(ACTIVITY + b"?lead_id=a b"), {400}),
    (request(b"http://[::1/"), {400}),
    (request(b"*", method=b"OPTIONS"), {404}),
    (request(b"x:80", method=b"CONNECT"), {404}),
    (request(ACTIVITY + b"?lead_id=%ff%fe"), {400}),
    (request(ACTIVITY + b"?lead_id=%"), {400}),
    (request(ACTIVITY + b"?lead_id=%zz"), {400}),
    (request(ACTIVITY + b"?lead_id=%00"), {400}),
    (request(ACTIVITY + b"?lead_id[$gt]=&$where=1&=&&&=x&a"), {200}),
    (request(ACTIVITY + b"?lead_id[%24gt]=a&lead_id.$gt=b"), {200}),
    (request(ACTIVITY + b"?_fields=%ff,$where,_id,_meta,a.b,.,..,%00,&_fields[0]=$"), {200}),
    (request(ACTIVITY + b"?" + b"&".join(b"a%d=1" % number for number in range(1500))), {200}),
    (request(ACTIVITY, b"X-TZ-Offset: nan"), {400}),
    (request(ACTIVITY, b"X-TZ-Offset: \xff"), {400}),
    (request(ACTIVITY, b"X-Request-Id: \xff", b"Accept-Encoding: \xff;q=\xff"), {200}),
    (request(ACTIVITY, b"Content-Length: 3", body=b"abc"), {200}),
    (request(ACTIVITY, b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), {200}),
    (request(ACTIVITY, b"Upgrade: websocket", b"Connection: upgrade"), {200}),
    (request(ACTIVITY, b"Upgrade: h2c", b"HTTP2-Settings: x", b"Connection: upgrade"), {200}),
    (request(ACTIVITY, OVERRIDE, b"Content-Length: 1", method=b"POST", body=b"{"), {400}),
    (request(ACTIVITY, OVERRIDE, b"Content-Length: 3", method=b"POST", body=b"\xff{}"), {400}),
]


async def with_key(api: Api, sent: bytes) -> bytes:
    key = (await api.key()).encode()
    return sent.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer " + key, 1)


async def test_nonsense_is_refused_in_the_shape_of_errors(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for sent, expected in NONSENSE:
        answers = await talk(api, await with_key(api, sent))

        assert {status for status, _ in answers} == expected, sent[:200]
        for status, body in answers:
            assert status == 200 or b'"field-errors"' in body, sent[:200]
            assert b"Traceback" not in body
    assert [entry for entry in caplog.records if entry.levelname == "ERROR"] == []


async def test_bodies_that_break_off_are_refused(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    chunked = b"Transfer-Encoding: chunked"
    for headers, body in (
        ([b"Content-Length: 100"], b'{"_params"'),
        ([chunked], b"5\r\nab"),
        ([chunked], b"zz\r\n"),
        ([chunked, b"Content-Encoding: gzip"], b"3\r\nabc\r\n0\r\n\r\n"),
    ):
        sent = request(ACTIVITY, OVERRIDE, *headers, method=b"POST", body=body)
        answers = await talk(api, await with_key(api, sent), breaks_off=True)
        assert {status for status, _ in answers} <= {400}, (headers, body)
    assert [entry for entry in caplog.records if entry.levelname == "ERROR"] == []


async def test_half_a_body_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "_MAX_BODY_SECONDS", 0.2)
    half = request(ACTIVITY, OVERRIDE, b"Content-Length: 20", method=b"POST", body=b'{"_params"')
    sent = await with_key(api, half)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)

    writer.write(sent)
    async with asyncio.timeout(DEADLINE_SECONDS / 4):
        answer = await reader.readuntil(b"}}")
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"did not arrive in time" in answer


async def test_pipelined_requests_are_answered_in_turn(api: Api) -> None:
    first, second, third = [
        await with_key(api, request(b"/api/v1/" + path))
        for path in (b"me/", b"nowhere", b"activity/?_limit=x")
    ]

    keep = (b"Connection: close\r\n", b"")
    answers = await talk(api, first.replace(*keep) + second.replace(*keep) + third)

    assert [status for status, _ in answers] == [200, 404, 400]


async def test_the_service_is_well_after_all_that(api: Api) -> None:
    for sent, _ in NONSENSE:
        with suppress(aiohttp.ClientError):
            await talk(api, sent)

    assert (await api.ask("/activity/")).status == 200
    await wait_for_requests(0)
