"""The connection: clear lines at start, and the drivers' errors told apart."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from service.errors import StartError, StoreTimeout, StoreUnavailable
from service.settings import MongoSettings
from service.store.mongo import asking, connect, ping
from service.store.writes import Outcome, write_changes
from tests.conftest import Driver
from tests.store.conversations import encoded, setting, to_change
from tests.store.failpoints import failing

SECRET = "p4ssw0rd"


def settings_for(
    url: str, driver: Driver, timeout_seconds: float = 0.5, **more: Any
) -> MongoSettings:
    return MongoSettings(url=SecretStr(url), driver=driver, timeout_seconds=timeout_seconds, **more)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost:27017", "Invalid URI scheme"),
        (f"mongodb://me:{SECRET}@", "Empty host"),
        (f"mongodb://me:{SECRET}/@localhost", "must be escaped"),
        (f"mongodb://me:{SECRET}@localhost:x", "Port"),
        (f"mongodb://me:{SECRET}@localhost/?retryWrite=true", "Unknown option"),
        (f"mongodb://me:{SECRET}@localhost/?w=1", "w=1 could lose what was acknowledged"),
        (f"mongodb://me:{SECRET}@localhost/?w=1;replicaSet=rs0", "w=1 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=%2B1", "w=1 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=+1", "w=1 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=%201", "w=1 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=0;appname=x", "w=0 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?W=1&appname=x", "w=1 could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=ours", "w=ours could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=majority&journal=false", "journal=false could lose"),
        (f"mongodb://me:{SECRET}@localhost/?journal=false", "journal=false could lose"),
        (f"mongodb://me:{SECRET}@localhost/?w=majority&w=1", "Duplicate URI option"),
        (f"mongodb://me:{SECRET}@localhost/?tls=true&tlsCAFile=/none.pem", "No such file"),
    ],
)
async def test_an_unusable_connection_string_is_one_line_without_the_password(
    mongo_driver: Driver, url: str, text: str
) -> None:
    with pytest.raises(StartError) as caught:
        async with connect(settings_for(url, mongo_driver)):
            pytest.fail("connected")

    line = str(caught.value)
    assert line.startswith("ACTIVITY_MONGO_URL: ")
    assert text in line
    assert SECRET not in line
    assert "\n" not in line


async def test_a_wrong_password_is_one_line_without_it(
    mongo_server: Any, mongo_driver: Driver
) -> None:
    url = mongo_server.url.replace("mongodb://", f"mongodb://me:{SECRET}@")

    async with connect(settings_for(url, mongo_driver)) as mongo:
        with pytest.raises(StoreUnavailable, match="refuses the user or password") as caught:
            await ping(mongo)

    assert SECRET not in str(caught.value)


async def test_a_server_that_does_not_answer_is_one_line(mongo_driver: Driver) -> None:
    async with connect(settings_for("mongodb://127.0.0.1:1", mongo_driver)) as mongo:
        with pytest.raises(StoreUnavailable, match="MongoDB cannot be reached: ") as caught:
            await ping(mongo)

    line = str(caught.value)
    assert len(line) < 200
    assert "\n" not in line
    assert "Topology" not in line


async def test_what_the_connection_string_says_is_not_overridden(mongo_driver: Driver) -> None:
    url = (
        "mongodb://localhost/?maxPoolSize=7&appName=mine&serverSelectionTimeoutMS=1234"
        "&w=majority&readPreference=secondaryPreferred&retryWrites=true&journal=true"
    )

    async with connect(settings_for(url, mongo_driver, max_pool_size=9)) as mongo:
        options = mongo.client.options
        assert options.pool_options.max_pool_size == 7
        assert options.pool_options.appname == "mine"
        assert options.server_selection_timeout == 1.234
        assert options.retry_writes is True
        assert options.write_concern.document == {"w": "majority", "j": True}
        assert mongo.activities.read_preference.name == "SecondaryPreferred"


async def test_options_may_be_parted_by_semicolons(mongo_driver: Driver) -> None:
    url = "mongodb://localhost/?maxPoolSize=7;socketTimeoutMS=10000;w=majority"

    async with connect(settings_for(url, mongo_driver, max_pool_size=9)) as mongo:
        assert mongo.client.options.pool_options.max_pool_size == 7
        assert mongo.patience_seconds is None


async def test_settings_hold_where_the_connection_string_is_silent(mongo_driver: Driver) -> None:
    settings = settings_for("mongodb://localhost", mongo_driver, max_pool_size=9)

    async with connect(settings) as mongo:
        options = mongo.client.options
        assert options.pool_options.max_pool_size == 9
        assert options.pool_options.connect_timeout == 0.5
        assert mongo.patience_seconds == settings.socket_timeout_seconds
        assert options.server_selection_timeout == 0.5
        assert options.retry_writes is False
        assert options.write_concern.document == {"w": "majority"}
        assert options.codec_options.tz_aware is False


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"errorCode": 50}, StoreTimeout),
        ({"errorCode": 10107}, StoreUnavailable),
        ({"errorCode": 262}, StoreUnavailable),
        ({"errorCode": 43}, StoreUnavailable),
        ({"errorCode": 13}, StoreUnavailable),
        ({"closeConnection": True}, StoreUnavailable),
    ],
)
async def test_a_find_that_fails_for_now_says_so(
    breakable_mongo_server: MongoServer,
    mongo_driver: Driver,
    how: dict[str, Any],
    error: type[Exception],
) -> None:
    async with connect(settings_for(breakable_mongo_server.url, mongo_driver, 10)) as mongo:
        async with failing(mongo, "find", **how):
            with pytest.raises(error):
                await ping(mongo)

        await ping(mongo)


async def test_a_missing_index_says_what_to_do(mongo_server: Any, mongo_driver: Driver) -> None:
    async with connect(settings_for(mongo_server.url, mongo_driver, database="test_bare")) as mongo:
        await mongo.activities.insert_one({"_id": "orga_1!acti_1", "organization_id": "orga_1"})

        with pytest.raises(StoreUnavailable, match="activity-service indexes"):
            async with asking(mongo):
                await mongo.activities.find_one({"organization_id": "orga_1"}, hint="missing")

        await mongo.client.drop_database("test_bare")


async def test_an_answer_has_its_time(
    breakable_mongo_server: MongoServer, mongo_driver: Driver
) -> None:
    """Though the server answers others meanwhile."""
    url = breakable_mongo_server.url
    async with (
        connect(settings_for(url, mongo_driver, 10)) as administrator,
        connect(settings_for(url, mongo_driver, 10, socket_timeout_seconds=0.5)) as mongo,
    ):
        await ping(mongo)
        async with failing(administrator, "find", blockConnection=True, blockTimeMS=5000):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await ping(mongo)
            assert time.monotonic() - started < 3

        await ping(mongo)


async def test_who_misses_the_call_to_stop_is_called_again(mongo_driver: Driver) -> None:
    url = "mongodb://127.0.0.1:1"
    settings = settings_for(url, mongo_driver, socket_timeout_seconds=0.1)
    async with connect(settings) as mongo:
        told = pytest.raises(StoreUnavailable, match="does not answer")
        with told:
            async with asking(mongo):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(10)
                await asyncio.sleep(10)


@pytest.mark.parametrize(("said", "patience"), [("10000", None), ("0", None), (None, 1.0)])
async def test_the_connection_string_may_have_a_patience_of_its_own(
    mongo_driver: Driver, said: str | None, patience: float | None
) -> None:
    url = "mongodb://localhost/" + (f"?socketTimeoutMS={said}" if said else "")
    settings = settings_for(url, mongo_driver, socket_timeout_seconds=1.0)
    async with connect(settings) as mongo:
        assert mongo.patience_seconds == patience
        if said:
            timeout = mongo.client.options.pool_options.socket_timeout
            assert timeout == (int(said) / 1000 or None)


@pytest.mark.parametrize("command", ["insert", "update"])
@pytest.mark.parametrize(
    "how",
    [
        {"closeConnection": True},
        {"errorCode": 10107},
        {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
    ],
    ids=["network", "no primary", "write concern"],
)
async def test_a_write_that_fails_for_now_is_repeated_whole(
    breakable_mongo_server: MongoServer,
    mongo_driver: Driver,
    database_name: str,
    command: str,
    how: dict[str, Any],
) -> None:
    url, database = breakable_mongo_server.url, database_name
    changes = encoded(
        to_change(setting(f"acti_{number}", number, type_name="Note")) for number in (1, 2)
    )
    async with connect(settings_for(url, mongo_driver, 10, database=database)) as mongo:
        async with failing(mongo, command, **how):
            with pytest.raises(StoreUnavailable):
                await write_changes(mongo, changes)

        again = {answer.outcome for answer in await write_changes(mongo, changes)}
        assert again <= {Outcome.APPLIED, Outcome.DUPLICATE}
        assert await mongo.activities.count_documents({}) == 2
        await mongo.client.drop_database(database)
