"""One member of the group, by itself."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from consumers.batch import Batch
from consumers.health import Health
from consumers.runner import Runner
from service.observability import LAG_RECORDS
from service.settings import IngestSettings, KafkaSettings
from tests.ingest.group import Group, attentive, until


@pytest.mark.parametrize("servers", [1, 3])
async def test_a_member_that_waits_for_brokers_stops_at_once(servers: int) -> None:
    asked, stop = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async def write(batch: Batch) -> None:
        raise AssertionError(batch)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        kafka = KafkaSettings(bootstrap_servers=",".join([f"127.0.0.1:{port}"] * servers))
        runner = Runner(kafka, IngestSettings(), write, Health(), attentive(Health()))
        run = asyncio.create_task(runner.run(stop))
        await asyncio.wait_for(asked.wait(), 10)

        stop.set()

        await asyncio.wait_for(run, 5)


async def test_a_member_that_has_gone_has_no_partition_and_no_lag(group: Group) -> None:
    def assigned() -> float | None:
        return REGISTRY.get_sample_value("activity_partitions_assigned")

    async def has_some() -> bool:
        return bool(assigned())

    async def has_lag() -> bool:
        return any(family.samples for family in LAG_RECORDS.collect())

    async with group.member():
        await until(has_some)
        await until(has_lag)

    assert assigned() == 0
    assert not await has_lag()
