"""Finds by the commands themselves: all that the driver's own cursor would do is done."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest
from bson import decode
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from service.bson.transcoding import Documents
from service.errors import StoreTimeout, StoreUnavailable
from service.settings import MongoSettings
from service.store.documents import find_documents
from service.store.mongo import Mongo, asking, connect
from service.store.plans import Find
from tests.commands import CommandWatch
from tests.conftest import Driver
from tests.store.failpoints import failing

NUMBERS = range(5)
FIND = Find({"organization_id": "orga_1"}, "_id_", (("_id", 1),))
MEBIBYTE = 1024 * 1024


@pytest.fixture(name="breakable")
async def _breakable(
    breakable_mongo_server: MongoServer, mongo_settings: MongoSettings
) -> AsyncIterator[Mongo]:
    """A connection to a MongoDB that fails on purpose."""
    url = {"url": SecretStr(breakable_mongo_server.url)}
    async with connect(mongo_settings.model_copy(update=url)) as mongo:
        await fill(mongo)
        yield mongo
        await mongo.client.drop_database(mongo_settings.database)


async def fill(mongo: Mongo, size: int = 1) -> None:
    for number in NUMBERS:
        await mongo.activities.insert_one(
            {"_id": f"orga_1!{number}", "organization_id": "orga_1", "n": number, "x": "x" * size}
        )


def ask(
    mongo: Mongo, find: Find = FIND, *, limit: int = 0, skip: int = 0
) -> AbstractAsyncContextManager[AsyncGenerator[Documents, None]]:
    projection = {"n": 1, "x": 1}
    return aclosing(
        find_documents(
            mongo, find, projection, limit=limit, skip=skip, remaining_milliseconds=lambda: 10_000
        )
    )


async def numbers(mongo: Mongo, find: Find = FIND, **how: int) -> list[int]:
    """What stands in the replies."""
    found: list[int] = []
    async with asking(mongo), ask(mongo, find, **how) as replies:
        async for documents in replies:
            found += [document["n"] for document in decode(documents.cursor)["firstBatch"]]
    return found


async def test_a_reply_has_all(mongo: Mongo, mongo_driver: Driver, commands: CommandWatch) -> None:
    await fill(mongo)
    commands.clear()

    assert await numbers(mongo) == [0, 1, 2, 3, 4]
    assert await numbers(mongo, limit=3) == [0, 1, 2]
    assert await numbers(mongo, limit=3, skip=1) == [1, 2, 3]
    assert await numbers(mongo, limit=9, skip=4) == [4]
    assert await numbers(mongo, Find({"organization_id": "orga_2"}, "_id_", ())) == []
    if mongo_driver == "pymongo":
        assert commands.names == ["find"] * 5


async def test_hundreds_of_small_ones_come_in_one_reply(
    mongo: Mongo, mongo_driver: Driver, commands: CommandWatch
) -> None:
    await mongo.activities.insert_many(
        [{"_id": f"orga_1!{n:03}", "organization_id": "orga_1", "n": n} for n in range(500)]
    )
    commands.clear()

    assert await numbers(mongo) == list(range(500))
    assert await numbers(mongo, limit=201) == list(range(201))
    if mongo_driver == "pymongo":
        assert commands.names == ["find", "find"]


async def test_what_does_not_come_in_one_reply_is_left_to_the_driver(
    mongo: Mongo, mongo_driver: Driver, commands: CommandWatch
) -> None:
    await fill(mongo, size=6 * MEBIBYTE)
    commands.clear()
    open_before = await open_cursors(mongo)
    backwards = Find(FIND.filter, FIND.hint, (("_id", -1),))

    assert await numbers(mongo) == [0, 1, 2, 3, 4]
    assert await numbers(mongo, limit=3, skip=1) == [1, 2, 3]
    assert await numbers(mongo, backwards, limit=3) == [4, 3, 2]

    assert await open_cursors(mongo) == open_before
    if mongo_driver == "pymongo":
        one = ["find", "killCursors", "find", "getMore"]
        assert commands.names == [*one, "getMore", *one, *one]
        assert all(find["hint"] == "_id_" for find in commands.finds)


@pytest.mark.parametrize("how", [{"errorCode": 1}, {"closeConnection": True}], ids=str)
async def test_a_cursor_that_cannot_be_closed_is_no_error(
    breakable: Mongo, how: dict[str, Any]
) -> None:
    await breakable.activities.delete_many({})
    await fill(breakable, size=6 * MEBIBYTE)
    async with failing(breakable, "killCursors", times=1, **how):
        assert await numbers(breakable) == [0, 1, 2, 3, 4]


async def test_who_asks_again_has_what_time_is_left(
    mongo: Mongo, mongo_driver: Driver, commands: CommandWatch
) -> None:
    await fill(mongo, size=5 * MEBIBYTE)
    commands.clear()
    remaining = iter([6000, 2000])

    found = find_documents(
        mongo, FIND, {}, limit=0, skip=0, remaining_milliseconds=lambda: next(remaining)
    )
    async with aclosing(found) as replies:
        async for _ in replies:
            pass

    if mongo_driver == "pymongo":
        assert [find["maxTimeMS"] for find in commands.finds] == [6000, 2000]


async def test_leaving_early_ends_the_query(mongo: Mongo) -> None:
    await fill(mongo, size=5 * MEBIBYTE)
    open_before = await open_cursors(mongo)

    async with ask(mongo) as replies:
        async for _ in replies:
            break

    assert await open_cursors(mongo) == open_before


async def open_cursors(mongo: Mongo) -> int:
    status = await mongo.client.admin.command("serverStatus")
    count: int = status["metrics"]["cursor"]["open"]["total"]
    return count


@pytest.mark.parametrize(
    "how",
    [{"closeConnection": True}, *({"errorCode": code} for code in (6, 7, 89, 134, 262, 9001))],
    ids=str,
)
async def test_a_find_is_asked_for_once_more(breakable: Mongo, how: dict[str, Any]) -> None:
    async with failing(breakable, "find", times=1, **how):
        assert await numbers(breakable) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("code", [10107, 189, 11602, 13435, 13436])
async def test_a_late_word_of_a_primary_gone_is_not_believed(breakable: Mongo, code: int) -> None:
    """The server has said since that it is the primary: nobody need look for another."""
    async with failing(breakable, "find", times=1, errorCode=code):
        started = time.monotonic()
        assert await numbers(breakable) == [0, 1, 2, 3, 4]
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"closeConnection": True}, StoreUnavailable),
        ({"errorCode": 50}, StoreTimeout),
        ({"errorCode": 13}, StoreUnavailable),
    ],
    ids=str,
)
async def test_what_fails_every_time_is_told(
    breakable: Mongo, how: dict[str, Any], error: type[Exception]
) -> None:
    async with failing(breakable, "find", **how):
        with pytest.raises(error):
            await numbers(breakable)


async def test_a_server_that_is_not_there_is_looked_for_once(
    mongo_settings: MongoSettings,
) -> None:
    nowhere = {"url": SecretStr("mongodb://127.0.0.1:1"), "timeout_seconds": 2.0}
    async with connect(mongo_settings.model_copy(update=nowhere)) as mongo:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await numbers(mongo)
        assert time.monotonic() - started < 3.5


async def test_no_second_try_where_the_connection_string_says_so(
    breakable_mongo_server: MongoServer, mongo_settings: MongoSettings
) -> None:
    url = SecretStr(f"{breakable_mongo_server.url}&retryReads=false")
    async with connect(mongo_settings.model_copy(update={"url": url})) as mongo:
        refused = pytest.raises(StoreUnavailable)
        async with failing(mongo, "find", times=1, closeConnection=True):
            with refused:
                await numbers(mongo)


async def test_a_query_has_its_time(breakable: Mongo) -> None:
    point = {"configureFailPoint": "maxTimeAlwaysTimeOut"}
    await breakable.client.admin.command(point | {"mode": "alwaysOn"})
    with pytest.raises(StoreTimeout):
        await numbers(breakable)
    await breakable.client.admin.command(point | {"mode": "off"})


async def test_reads_are_as_the_connection_string_says(
    mongo_server: Any, mongo_settings: MongoSettings, mongo_driver: Driver, commands: CommandWatch
) -> None:
    said = "readConcernLevel=majority&readPreference=primaryPreferred"
    url = SecretStr(f"{mongo_server.url}&{said}")
    async with connect(mongo_settings.model_copy(update={"url": url})) as mongo:
        await fill(mongo)
        assert await numbers(mongo) == [0, 1, 2, 3, 4]
        await mongo.client.drop_database(mongo_settings.database)

    if mongo_driver == "pymongo":
        (find,) = commands.finds
        assert find["readConcern"] == {"level": "majority"}
        assert find["$readPreference"] == {"mode": "primaryPreferred"}
