"""Events into real Kafka, answers out of real HTTP, both processes as an operator runs them:
what comes out is what the oracle says, whatever came in and whoever was killed."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from itertools import product
from statistics import median

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from deploy.local.stack import Kafka, Mongo
from service.settings import MongoSettings
from tests.e2e.road import (
    Road,
    assert_same_answer,
    assert_same_listings,
    open_road,
    until,
)
from tests.examples import examples
from tests.factories import (
    BAD_RECORDS,
    ORGANIZATIONS,
    OWN_PATHS,
    TYPE_NAMES,
    Request,
    activity,
    event,
    event_logs,
    realistic_events,
    record,
    requests,
)
from tests.model import Model


@pytest.fixture(scope="module")
async def road(
    mongo_server: Mongo, kafka_server: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Road]:
    folder = tmp_path_factory.mktemp("road")
    mongo = MongoSettings(url=SecretStr(mongo_server.url), database=f"test_{secrets.token_hex(6)}")
    async with open_road(kafka_server.bootstrap_servers, mongo, folder) as opened:
        yield opened


def applied(values: Sequence[bytes | None]) -> Model:
    model = Model()
    for value in values:
        model.apply(value)
    return model


def new_organization() -> str:
    return f"orga_{secrets.token_hex(6)}"


def realistic_log(seed: int, count: int, organization: str) -> list[bytes | None]:
    """Events of all types, a tenth of them twice, in any order."""
    events = list(realistic_events(seed, count, organization_id=organization, leads=6))
    types = [activity(name, organization_id=organization) for name in TYPE_NAMES]
    events += [
        event(row | {"id": f"acti_{seed}_{number}"}, id=f"ev_{seed}_type_{number}")
        for number, row in enumerate(types)
    ]
    rng = random.Random(seed)
    log: list[bytes | None] = [record(row) for row in events]
    log += rng.sample(log, len(log) // 10)
    rng.shuffle(log)
    return log


async def test_every_question_about_a_realistic_log_is_answered_right(road: Road) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    organization, other = new_organization(), new_organization()
    log = [*realistic_log(seed, 400, organization), *realistic_log(seed, 100, other)]
    model = applied(log)

    await road.publish(log, random.Random(seed))
    await road.work_off()

    for one in (organization, other):
        await assert_same_listings(road, model, one)
    for path, mode, order in product(
        ["/activity/", *(f"/activity/{path}/" for path in OWN_PATHS.values())],
        ["", "true", "only"],
        ["-date_created", "activity_at"],
    ):
        query = [("thread_emails", mode), ("_order_by", order), ("lead_id", "lead_1")]
        await assert_same_answer(road, model, organization, Request(path, query))
    threads = sorted(model.threads(organization))[:20]
    for id_ in [*sorted(model.activities(organization))[:20], *threads]:
        await assert_same_answer(road, model, organization, Request(f"/activity/{id_}/"))
        await assert_same_answer(road, model, other, Request(f"/activity/{id_}/"))


async def test_bad_records_are_set_aside_and_their_neighbours_applied(road: Road) -> None:
    organization = new_organization()
    bad = [value for values in BAD_RECORDS.values() for value in values]
    good = realistic_log(1, 150, organization)
    model = applied([*good, *bad])

    await road.publish([*good, *bad], random.Random(1))
    await road.work_off()

    await assert_same_listings(road, model, organization)
    assert sorted(await road.dead_letters()) == sorted(model.dead_letters)


# A log worth sending is more than hypothesis likes to draw.
@settings(
    max_examples=examples(8),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    log=event_logs(min_size=15, max_size=40),
    asked=st.lists(requests(), min_size=15, max_size=20),
    seed=st.integers(0, 99),
)
async def test_generated_logs_are_answered_right(
    road: Road, log: list[bytes | None], asked: list[Request], seed: int
) -> None:
    names = {name: new_organization() for name in ORGANIZATIONS}
    log = [value and renamed_in(value, names) for value in log]
    model = applied(log)

    await road.publish(log, random.Random(seed))
    await road.work_off()

    for organization in names.values():
        await assert_same_listings(road, model, organization)
        for request in asked:
            await assert_same_answer(road, model, organization, renamed(request, names))


def renamed_in(value: bytes, names: dict[str, str]) -> bytes:
    for name, new in names.items():
        value = value.replace(name.encode(), new.encode())
    return value


def renamed(request: Request, names: dict[str, str]) -> Request:
    pairs = [
        (name, ",".join(names.get(part, part) for part in value.split(",")))
        for name, value in request.parameters
    ]
    return Request(request.path, pairs, request.headers)


async def test_a_consumer_killed_in_the_middle_loses_and_doubles_nothing(road: Road) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    organization = new_organization()
    log = realistic_log(seed, 1000, organization)
    model = applied(log)

    publishing = asyncio.create_task(road.publish(log, random.Random(seed)))
    left = []
    for part in (0.1, 0.3, 0.5):
        await until_applied(road, organization, int(part * len(model.activities(organization))))
        road.consumer.kill()
        await publishing
        left.append(await road.not_committed())
        await road.consumer.start()
    await road.work_off()

    assert any(left)
    await assert_same_listings(road, model, organization)


async def until_applied(road: Road, organization: str, count: int) -> None:
    async def is_there() -> bool:
        query = [("_skip", str(count)), ("_limit", "0")]
        return bool((await road.ask(organization, Request("/activity/", query)))[1]["has_more"])

    await until(is_there)


async def test_both_end_cleanly_on_sigterm_and_go_on_afterwards(road: Road) -> None:
    organization = new_organization()
    log = realistic_log(3, 300, organization)
    model = applied(log)
    await road.publish(log[:200], random.Random(3))
    await until_applied(road, organization, 5)

    statuses = await asyncio.gather(road.consumer.stop(), road.api.stop())
    await road.publish(log[200:], random.Random(3))
    await asyncio.gather(road.consumer.start(), road.api.start())
    await road.work_off()

    assert list(statuses) == [0, 0]
    await assert_same_listings(road, model, organization)


async def test_an_event_is_visible_soon(road: Road) -> None:
    organization = new_organization()
    seconds = []

    for number in range(20):
        row = activity(id=f"acti_{number}", organization_id=organization)
        started = time.monotonic()
        await road.publish([record(event(row))], random.Random(number))
        await until_found(road, organization, f"acti_{number}")
        seconds.append(time.monotonic() - started)

    print(f"publish to visible: median {median(seconds):.3f} s, worst {max(seconds):.3f} s")
    assert median(seconds) < 0.5


async def until_found(road: Road, organization: str, id_: str) -> None:
    async def is_there() -> bool:
        return (await road.ask(organization, Request(f"/activity/{id_}/")))[0] == 200

    await until(is_there)
