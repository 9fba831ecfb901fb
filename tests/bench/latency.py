"""From publish to visible over HTTP, alone, under load and beside somebody else's backlog."""

import asyncio
import gc
import random
import time
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from tests.bench.client import Target, connected
from tests.bench.corpus import READER, Place, event, new_events, to_id
from tests.bench.ingest import Bench, consumer, create_topic, database, publish
from tests.bench.measure import Line, Report, quantile
from tests.bench.processes import running, until_ready
from tests.bench.reads import (
    LISTING,
    api_environment,
    authorization,
    create_key,
)

VISIBLE_SECONDS = 60.0
# Every so many events one is watched: to ask for each would be a load of its own.
WATCHED_PER_SECOND = 25
# Enough to keep one process busy, and no more than it works on at once.
SATURATING_CLIENTS = 4
LATENCY_SECONDS = 10
OVERLOAD_SECONDS = 6.0
# About as many seconds: the machine's pauses belong to both tails.
IDLE_REQUESTS = 2400
LIVE_NUMBER = 500_000_000


async def visible_seconds(
    target: Target, producer: AIOKafkaProducer, topic: str, *, events_per_second: int, count: int
) -> list[float]:
    """Publish at a steady rate; answer the seconds until each watched event was readable.

    Of the first second none is watched: it opens connections and looks up topics.
    """
    source = random.Random(3)
    every = max(1, events_per_second // WATCHED_PER_SECOND)
    started = time.perf_counter()
    watching: list[asyncio.Task[float]] = []
    for number in range(LIVE_NUMBER, LIVE_NUMBER + count):
        due = started + (number - LIVE_NUMBER) / events_per_second
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        place = Place(READER, to_id("lead", number % 97), "Call", datetime.now(UTC))
        value = event(source, place, number)
        published = time.perf_counter()
        await producer.send(topic, value, key=place.lead_id.encode())
        if number % every == 0 and number >= LIVE_NUMBER + events_per_second:
            path = f"{LISTING}{to_id('acti', number)}/"
            watching.append(asyncio.create_task(_until_visible(target, path, published)))
    return await asyncio.gather(*watching)


async def _until_visible(target: Target, path: str, published: float) -> float:
    async with connected(target) as connection:
        while time.perf_counter() - published < VISIBLE_SECONDS:
            status, _ = await connection.ask(path)
            if status == 200:
                return time.perf_counter() - published
            await asyncio.sleep(0.002)
    raise RuntimeError(f"{path} was not visible within {VISIBLE_SECONDS} seconds")


async def measure_latency(report: Report, bench: Bench, *, ingest_rate: float, rounds: int) -> None:
    """At 500 events a second, and at half of what the consumer can do."""
    gc.collect()
    gc.freeze()  # what other parts have left behind is not to be looked through meanwhile
    half = int(ingest_rate / 2)
    for rate, most_median, most_tail in ((500, 30, 100), (half, 100, 500)):
        by_round = [await _visible_at(bench, rate) for _ in range(rounds)]
        what = f"publish to visible at {rate:,} events/s"
        for share, most in ((0.5, most_median), (0.99, most_tail)):
            values = [quantile(seconds, share) * 1000 for seconds in by_round]
            report.add(Line(f"{what}, p{share * 100:.0f}", "-", "ms", values, [], at_most=most))


async def _visible_at(bench: Bench, rate: int) -> list[float]:
    async with database(bench) as (name, _):
        topic = await create_topic(bench)
        return await _beside(bench, name, [topic], topic, rate, count=rate * LATENCY_SECONDS)


async def measure_fairness(report: Report, bench: Bench, *, backlog: int, rounds: int) -> None:
    """A live event while another organization's backlog in another topic is worked off."""
    bulk = await publish(bench, new_events(4, backlog))
    worst = []
    for _ in range(rounds):
        async with database(bench) as (name, _):
            live = await create_topic(bench)
            seconds = await _beside(bench, name, [bulk, live], live, 20, count=20 * 8)
        worst.append(max(seconds) * 1000)
    what = f"live event beside a backlog of {backlog:,}, worst"
    report.add(Line(what, "-", "ms", worst, [], at_most=2000))


async def _beside(
    bench: Bench, name: str, topics: list[str], live: str, rate: int, *, count: int
) -> list[float]:
    key = await create_key(bench.mongo_url, name)
    async with (
        running(
            "service",
            "serve",
            environment=api_environment(bench.mongo_url, name),
            log=bench.logs / f"{name}.log",
        ) as api,
        consumer(bench, name, *topics) as process,
    ):
        await until_ready(api)
        await until_ready(process)
        target = Target(api.port, authorization(key))
        producer = AIOKafkaProducer(bootstrap_servers=bench.kafka_servers)
        await producer.start()
        try:
            return await visible_seconds(
                target, producer, live, events_per_second=rate, count=count
            )
        finally:
            await producer.stop()
