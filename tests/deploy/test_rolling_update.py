"""A rolling update as Kubernetes does it, rehearsed with processes.

The API as a Deployment: a new process is ready before an old one is told to go. The consumers as a
StatefulSet: one by one, each under its old name.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.commands import ApiProcess, Command, ConsumerProcess, run_command
from service.settings import MongoSettings
from service.store.mongo import Mongo
from tests.conftest import Topics
from tests.deploy import metrics
from tests.deploy.balancer import Balancer
from tests.deploy.load import Load, under_load

DEADLINE_SECONDS = 20.0


@pytest.fixture(name="environment")
def _environment(mongo: Mongo, mongo_settings: MongoSettings, topics: Topics) -> dict[str, str]:  # noqa: ARG001 the indexes are in place
    return {
        "ACTIVITY_MONGO_URL": mongo_settings.url.get_secret_value(),
        "ACTIVITY_MONGO_DATABASE": mongo_settings.database,
        "ACTIVITY_CURSOR_SECRET": "a secret of this test alone",
        "ACTIVITY_RATE_LIMIT": "",
        "ACTIVITY_DRAIN_DELAY_SECONDS": "1",
        **topics.environment(),
    }


def _member(folder: Path, environment: Mapping[str, str], number: int) -> ConsumerProcess:
    name = f"activity-consumers-{number}"
    return ConsumerProcess(folder / name, {**environment, "ACTIVITY_KAFKA_GROUP_INSTANCE_ID": name})


async def _metrics(process: Command) -> list[Metric]:
    url = f"http://127.0.0.1:{process.operations_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return list(text_string_to_metric_families(await answer.text()))


async def _sample(process: Command, name: str) -> float:
    """The sum of a metric's samples over their labels."""
    families = await _metrics(process)
    return sum(s.value for family in families for s in family.samples if s.name == name)


async def _replace(old: ApiProcess, new: ApiProcess) -> int:
    await new.start()
    return await old.stop()


async def _restart(members: list[ConsumerProcess], number: int) -> tuple[int, list[float]]:
    """Stop and start one member. Its exit status, and how many assignments the others got by it."""
    others = [member for member in members if member is not members[number]]
    before = [await _sample(other, "activity_rebalances_total") for other in others]
    status = await members[number].stop()
    await members[number].start()
    after = [await _sample(other, "activity_rebalances_total") for other in others]
    return status, [now - then for then, now in zip(before, after, strict=True)]


async def test_a_rolling_update_is_noticed_by_nobody(
    environment: Mapping[str, str], topics: Topics, tmp_path: Path
) -> None:
    members = [_member(tmp_path, environment, number) for number in range(2)]
    first, second, spare = apis = [ApiProcess(tmp_path / f"api{n}", environment) for n in range(3)]
    balancer = Balancer(tmp_path / "balancer", apis)
    key = await run_command(
        "service", "keys", "create", "--organization", "orga_1", environment=environment
    )
    load = Load(balancer.url, key)
    try:
        await asyncio.gather(*(process.start() for process in (*members, first, second)))
        await balancer.start()
        async with under_load(load, topics.bootstrap_servers, topics.names):
            statuses = [await _replace(first, spare), await _replace(second, first)]
            restarts = [await _restart(members, number) for number in range(2)]

        seen = await load.find_all(deadline_seconds=DEADLINE_SECONDS)
        assigned = [await _sample(member, "activity_partitions_assigned") for member in members]
        joins = [await _sample(member, "activity_rebalances_total") for member in members]
        exposed = [{family.name for family in await _metrics(p)} for p in (spare, members[0])]
    finally:
        for process in (balancer, *apis, *members):
            process.kill()

    assert set(load.outcomes) == {"ok"}
    assert load.outcomes.total() > 100
    assert seen == dict.fromkeys(load.published, 1)
    assert statuses == [0, 0]
    assert restarts == [(0, [0]), (0, [0])]
    assert assigned == [2, 2]
    assert joins == [1, 1]
    assert all({metric.name for metric in metrics.declared()} <= names for names in exposed)
