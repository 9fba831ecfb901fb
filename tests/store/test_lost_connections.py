"""A write whose first try gets no connection is repeated whole (contract 1.5.2): by whoever wrote,
or by the driver, where the connection string says so."""

import asyncio

import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient, ReplaceOne

from deploy.local.mongodb import MongoServer
from service.errors import StoreUnavailable
from service.settings import MongoSettings
from service.store.bulks import write_unordered
from service.store.indexes import PRIMARY
from service.store.mongo import connect
from tests.conftest import Driver

# One handshake of the service's connections fails; monitors have theirs behind them.
FAIL_NEXT_HANDSHAKE = {
    "configureFailPoint": "failCommand",
    "mode": {"times": 1},
    "data": {
        "failCommands": ["hello", "isMaster"],
        "closeConnection": True,
        "appName": "activity-service",
    },
}


INSERTED = {"_id": "orga_1!inserted", "organization_id": "orga_1"}
REPLACED = {"_id": "orga_1!replaced", "organization_id": "orga_1"}


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
@pytest.mark.parametrize("driver_repeats", [False, True])
async def test_mixed_bulk_is_complete_though_no_connection_was_had_at_first(
    breakable_mongo_server: MongoServer, database_name: str, driver: Driver, driver_repeats: bool
) -> None:
    url = f"{breakable_mongo_server.url}&serverMonitoringMode=poll&heartbeatFrequencyMS=60000"
    if driver_repeats:
        url += "&retryWrites=true"
    settings = MongoSettings(url=SecretStr(url), database=database_name, driver=driver)
    operations = [
        INSERTED,
        ReplaceOne(REPLACED, REPLACED, upsert=True, hint=PRIMARY),
    ]
    async with (
        AsyncMongoClient[dict[str, str]](breakable_mongo_server.url) as administrator,
        connect(settings) as mongo,
    ):
        await mongo.client.admin.command("ping")
        await administrator.admin.command(FAIL_NEXT_HANDSHAKE)
        # Keeps the only connection that there is, so that the write needs a new one.
        occupied = {"sleep": 1, "millis": 500, "lock": "none"}
        occupation = asyncio.ensure_future(mongo.client.admin.command(occupied))
        await asyncio.sleep(0)
        if not driver_repeats:
            with pytest.raises(StoreUnavailable):
                await write_unordered(mongo, operations)
        faults = await write_unordered(mongo, operations)
        await asyncio.wait([occupation])
        found = [document async for document in mongo.activities.find({}, sort=[("_id", 1)])]
        await administrator.drop_database(database_name)

    occupation.exception()
    assert faults == {}
    assert found == [INSERTED, REPLACED]
