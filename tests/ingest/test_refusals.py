"""What MongoDB refuses while consumers run (contract 1.5.5)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import Gauge
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from consumers import lag, process
from deploy.local.mongodb import MongoServer
from service.errors import Halted
from service.observability import LAG_RECORDS, LAG_SECONDS, RECORDS_PUT_OFF
from service.settings import MongoSettings, RetentionSettings
from service.store import mongo as store
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from tests.conftest import Topics
from tests.factories import activity, event, record
from tests.ingest.group import Group, Member, until
from tests.store.conversations import setting
from tests.store.refusing import Way, way_to

PATIENT: dict[str, Any] = {"refusal_patience_seconds": 600.0}
IMPATIENT: dict[str, Any] = {"refusal_patience_seconds": 0.5, "retry_max_seconds": 0.1}


@pytest.fixture
async def way(mongo_server: Any) -> AsyncIterator[Way]:
    async with way_to(mongo_server.url) as way:
        yield way


@pytest.fixture
async def on_the_way(way: Way, topics: Topics, mongo: Mongo) -> AsyncIterator[Group]:
    """A group whose store is reached by a way on which operations are refused."""
    settings = MongoSettings(url=SecretStr(way.url), database=mongo.activities.database.name)
    async with connect(settings) as connection:
        yield Group(topics, connection)


def notes(organization: str, ids: Iterable[int]) -> list[bytes]:
    """New notes, of which each has a text of its own."""
    return [
        record(
            event(activity("Note", organization_id=organization, id=f"acti_{id_}", note=str(id_)))
        )
        for id_ in ids
    ]


def emails(organization: str, thread: str, ids: Iterable[int]) -> list[bytes]:
    return [
        record(setting(f"acti_{id_}", 1, organization_id=organization, thread_id=thread))
        for id_ in ids
    ]


def gauge(metric: Gauge) -> list[float]:
    return [sample.value for sample in next(iter(metric.collect())).samples]


def is_held() -> float:
    return sum(gauge(RECORDS_PUT_OFF))


@asynccontextmanager
async def readiness(member: Member) -> AsyncIterator[list[str | None]]:
    """What the probe said meanwhile, each change of it."""
    said: list[str | None] = [await member.health.is_ready()]

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.01)
            if (now := await member.health.is_ready()) != said[-1]:
                said.append(now)

    watching = asyncio.create_task(watch())
    try:
        yield said
    finally:
        watching.cancel()


async def stored(group: Group, count: int) -> Callable[[], Any]:
    async def are_stored() -> bool:
        found: int = await group.mongo.activities.count_documents({"_type": {"$exists": True}})
        return found >= count

    return are_stored


async def test_writes_blocked_by_an_operator_are_waited_out(
    breakable_mongo_server: MongoServer, topics: Topics, database_name: str
) -> None:
    settings = MongoSettings(url=SecretStr(breakable_mongo_server.url), database=database_name)
    async with connect(settings) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        group = Group(topics, mongo)
        async with group.member() as member:
            await mongo.client.admin.command("setUserWriteBlockMode", 1, **{"global": True})
            await group.publish(notes("orga_1", range(60)))
            await until(lambda: asyncio.sleep(0, member.health.is_away))
            await mongo.client.admin.command("setUserWriteBlockMode", 1, **{"global": False})
            await group.until_worked_off()
        await group.check()
        await mongo.client.drop_database(database_name)


@pytest.mark.parametrize(
    ("code", "refuses_commands"), [(371, False), (8, False), (13, True), (4242, True)]
)
async def test_nothing_is_a_dead_letter_while_every_write_is_refused(
    on_the_way: Group,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    refuses_commands: bool,
) -> None:
    """And readiness says so all along, though a look at the indexes succeeds; the lag grows."""
    monkeypatch.setattr(lag, "INTERVAL_SECONDS", 0.2)
    way.refuse_all(code)
    way.refuses_commands = refuses_commands
    async with on_the_way.member(**IMPATIENT) as member:
        await until(lambda: asyncio.sleep(0, member.health.has_joined))
        await on_the_way.publish([*notes("orga_1", range(20)), *emails("orga_1", "acti_t", [99])])
        await until(lambda: asyncio.sleep(0, member.health.is_away))
        async with readiness(member) as said:
            await asyncio.sleep(2.5)  # longer than the patience, and than a look at the store takes
        assert sum(gauge(LAG_RECORDS)) == 21
        assert max(gauge(LAG_SECONDS)) > 2
        way.refuse = lambda _: None
        await on_the_way.until_worked_off()

    assert all(said)
    await on_the_way.check()


async def test_a_unique_index_of_an_operators_own_delays_only_what_it_keeps_out(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    await group.mongo.activities.create_index(
        "note", unique=True, partialFilterExpression={"note": "0"}
    )
    async with group.member(**PATIENT) as member:
        with caplog.at_level(logging.WARNING):
            await group.publish(notes("orga_1", range(5)))
            await until(await stored(group, 5))
            for number in range(2, 8):  # more batches than may be in flight
                await group.publish(notes(f"orga_{number}", range(10)))
                await until(await stored(group, 5 + 9 * (number - 1)), 5)
            await until(lambda: asyncio.sleep(0, is_held() == 6))
        assert await member.health.is_ready() is None
        assert await group.dead_letters() == []
        await group.publish(notes("orga_9", range(1, 20)))
        await until(await stored(group, 5 + 9 * 6 + 19), 5)
        await group.mongo.activities.drop_index("note_1")
        await group.until_worked_off()

    refused = [vars(one) for one in caplog.records if one.msg.startswith("refused while others")]
    assert {one["organization"] for one in refused} == {f"orga_{number}" for number in range(2, 8)}
    assert "a unique index over note" in refused[0]["reason"]
    assert is_held() == 0
    await group.check()


async def test_what_is_refused_alone_for_long_is_a_dead_letter(group: Group) -> None:
    await group.mongo.activities.create_index(
        "note", unique=True, partialFilterExpression={"note": "0"}
    )
    bad = notes("orga_2", [0])
    async with group.member(**IMPATIENT):
        await group.publish(notes("orga_1", range(5)))
        await group.until_worked_off()
        async with group.producer() as producer:
            await producer.send_and_wait(group.topics.names[0], bad[0])
        for number in range(10, 60):
            await group.publish(notes("orga_1", [number]))
            await asyncio.sleep(0.05)  # others are taken all the time
        await group.until_worked_off()

    (letter,) = await group.dead_letters()
    headers = dict(letter.headers)
    assert letter.value == bad[0]
    assert headers["activity.error.code"] == b"refused"
    assert b"a unique index over note" in headers["__connect.errors.exception.message"]
    assert await group.stored() == group.expected()


async def test_one_refused_thread_disturbs_nobody_else(on_the_way: Group, way: Way) -> None:
    """Eighty emails of others, one after the other, while a thread is refused."""
    bad = "orga_1!acti_bad!thread"
    way.refuse = lambda one: (
        {"code": 8} if bad in (one.get("_id"), one.get("q", {}).get("_id")) else None
    )
    async with on_the_way.member(**PATIENT) as member:
        await on_the_way.publish(emails("orga_2", "acti_first", [0]))
        await until(await stored(on_the_way, 2))
        await on_the_way.publish(emails("orga_1", "acti_bad", [1, 2]))
        await until(lambda: asyncio.sleep(0, is_held() >= 1))
        async with readiness(member) as said:
            for number in range(3, 83):
                await on_the_way.publish(emails("orga_2", f"acti_{number}t", [number]))
                await until(await stored(on_the_way, 2 + 2 + 2 * (number - 2)), 2)
        way.refuse = lambda _: None
        await on_the_way.until_worked_off()

    assert said == [None]
    await on_the_way.check()


async def test_a_record_whose_thread_is_refused_for_long_is_a_dead_letter_and_may_be_replayed(
    on_the_way: Group, way: Way
) -> None:
    bad = "orga_1!acti_bad!thread"
    way.refuse = lambda one: {"code": 8} if one.get("_id") == bad else None
    (value,) = emails("orga_1", "acti_bad", [1])
    async with on_the_way.member(**IMPATIENT):
        await on_the_way.publish(notes("orga_2", [0]))
        await on_the_way.until_worked_off()
        await on_the_way.publish([value])
        for number in range(10, 60):
            await on_the_way.publish(notes("orga_2", [number]))
            await asyncio.sleep(0.05)  # others are taken all the time
        await on_the_way.until_worked_off()
        (letter,) = await on_the_way.dead_letters()
        way.refuse = lambda _: None
        await on_the_way.publish([letter.value])
        await on_the_way.until_worked_off()

    assert letter.value == value
    assert await on_the_way.stored() == on_the_way.expected()


async def test_a_login_refused_for_long_ends_the_process(
    breakable_mongo_server: MongoServer,
    topics: Topics,
    database_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The password was changed, and MongoDB started again: no connection is left of before."""
    monkeypatch.setattr(store, "LOGIN_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.2)
    administrator = AsyncMongoClient[dict[str, Any]](breakable_mongo_server.url)
    roles = [{"role": "readWrite", "db": database_name}]
    await administrator.admin.command("createUser", database_name, pwd="old", roles=roles)
    url = breakable_mongo_server.url.replace("//", f"//{database_name}:old@")
    settings = MongoSettings(url=SecretStr(url), database=database_name, timeout_seconds=5)
    async with connect(settings) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        group = Group(topics, mongo)
        told = pytest.raises(Halted, match="refuses the user or password of ACTIVITY_MONGO_URL")
        with told:
            async with group.member() as member:
                await until(lambda: asyncio.sleep(0, member.health.has_joined))
                await administrator.admin.command("updateUser", database_name, pwd="new")
                await group.publish(notes("orga_1", range(3)))
                await group.until_worked_off()
                breakable_mongo_server.kill()
                await breakable_mongo_server.start()
                await asyncio.wait({member.task}, timeout=30)
                assert "refuses the user or password" in (await member.health.is_ready() or "")
    await administrator.admin.command("dropUser", database_name)
    await administrator.drop_database(database_name)
    await administrator.close()
