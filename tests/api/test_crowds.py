"""Crowds over HTTP, in short: who is served and who is refused. How fast is `make bench`'s to say."""

import asyncio
import random

import pytest

from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, serving
from tests.bench import crowd
from tests.bench.client import Target
from tests.bench.reads import authorization
from tests.factories import activity, event, record

LEADS = [f"lead_{number}" for number in range(10)]
PATHS = [f"{BASE_PATH}/activity/?lead_id={lead}" for lead in LEADS]
# Nobody shall be refused because the machine that tests is slow.
PATIENT = {"queue_max_seconds": 60.0}


async def fill(api: Api, organization: str = "orga_1") -> None:
    await api.apply(
        record(
            event(
                activity(
                    "Note",
                    id=f"acti_{organization}_{number}",
                    organization_id=organization,
                    lead_id=LEADS[number % len(LEADS)],
                )
            )
        )
        for number in range(100)
    )


async def target(api: Api, organization: str = "orga_1") -> Target:
    return Target(api.port, authorization(await api.key(organization)))


@pytest.mark.parametrize("clients", [4, 64, 256])
async def test_however_many_connections_come_nobody_is_refused(mongo: Mongo, clients: int) -> None:
    async with serving(mongo, **PATIENT) as api:
        await fill(api)

        outcome = await crowd.closed_loop(
            await target(api), [*PATHS, f"{BASE_PATH}/activity/"], clients=clients, seconds=0.5
        )

    assert set(outcome.statuses) == {200}
    assert outcome.statuses[200] >= clients


async def test_a_browsers_page_has_no_hole(mongo: Mongo) -> None:
    async with serving(mongo, **PATIENT) as api:
        await fill(api)
        ours = await target(api)

        users = await asyncio.gather(
            *(crowd.browse(ours, PATHS, random.Random(user)) for user in range(3))
        )

    assert all(is_whole for user in users for _, is_whole in user)


async def test_nobody_is_refused_for_anothers_crowd(mongo: Mongo) -> None:
    """A loop of pages, one of filters that no index answers, and one of unknown keys."""
    async with serving(mongo, **PATIENT) as api:
        await fill(api)
        await fill(api, "orga_2")
        ours, others = await target(api), await target(api, "orga_2")
        (known,) = [await crowd.closed_loop(ours, PATHS, clients=1, seconds=0)]
        async with (
            crowd.busy_loops(others, f"{BASE_PATH}/activity/") as pages,
            crowd.slow_loops(others) as filters,
            crowd.unknown_keys(ours) as unknown,
        ):
            beside = await crowd.closed_loop(ours, PATHS, clients=4, seconds=1.0)

    assert set(known.statuses) <= {200}
    assert set(beside.statuses) == {200}
    assert set(pages.statuses) == {200}
    assert set(filters.statuses) == {200}
    assert set(unknown.statuses) <= {401, 429}


async def test_a_crowd_that_is_too_large_is_refused_in_part_and_memory_is_left(
    mongo: Mongo,
) -> None:
    """What cannot be served in time is told so; the others are served all along."""
    async with serving(mongo, queue_max_seconds=0.05) as api:
        await fill(api)

        outcome = await crowd.closed_loop(await target(api), PATHS, clients=256, seconds=1.0)
        after = await api.ask("/activity/")

    assert set(outcome.statuses) == {200, 503}
    assert after.status == 200
