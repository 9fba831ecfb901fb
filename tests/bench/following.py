"""Following: what it costs those who write and those who ask, and how soon followers are told."""

import asyncio
import gc
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from service.store.mongo import Mongo
from tests.bench import limits
from tests.bench.client import Target
from tests.bench.corpus import (
    READER,
    START,
    Place,
    email_events,
    event,
    new_events,
    ordinary_lead,
    to_document,
    to_id,
)
from tests.bench.ingest import (
    FEED_HOURS,
    Bench,
    consume,
    consumer,
    create_topic,
    database,
    publish,
)
from tests.bench.latency import visible_seconds
from tests.bench.measure import Line, Report, alternate, quantile
from tests.bench.processes import Process, running, until_ready
from tests.bench.reads import LISTING, api_environment, authorization, create_key, rate, stored

RATE = 500
SECONDS = 10
IDLE = 2000
BUSY = 1000
CHANGES = 40
PAGES = 2000
STORED = 10_000


@asynccontextmanager
async def serving(bench: Bench, name: str, **settings: str) -> AsyncIterator[tuple[Process, str]]:
    """The API on a database, and a key of the corpus's reader."""
    key = await create_key(bench.mongo_url, name)
    environment = api_environment(bench.mongo_url, name) | settings
    environment["ACTIVITY_FEED_HOURS"] = str(FEED_HOURS)
    log = bench.logs / f"{name}.log"
    async with running("service", "serve", environment=environment, log=log) as api:
        await until_ready(api)
        yield api, key


class Follower(asyncio.Protocol):
    """As little of a client as can be: 2,000 of them are in this process. `told` is given what comes."""

    def __init__(self, path: str, key: str, told: Callable[[bytes], None]) -> None:
        self._question = (
            f"GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        self._told = told
        self._opening = b""
        self.live = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._question)

    def data_received(self, data: bytes) -> None:
        if self.live.done():
            self._told(data)
            return
        self._opening += data
        if b"event: live" in self._opening:
            self.live.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.live.done():
            self.live.set_exception(exc or ConnectionError(self._opening[:500]))


@asynccontextmanager
async def followed(
    api: Process, paths: Sequence[str], keys: Sequence[str], told: Callable[[bytes], None]
) -> AsyncIterator[None]:
    """One follower a path, all of them live; keys in turn."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for number, path in enumerate(paths):
            key = keys[number % len(keys)]
            transport, follower = await loop.create_connection(
                partial(Follower, path, key, told), "127.0.0.1", api.port
            )
            stack.callback(transport.abort)
            await follower.live
        yield


def ignore(_: bytes) -> None:
    """Who is measured by somebody else."""


async def measure_ingest(report: Report, bench: Bench, *, count: int, rounds: int) -> None:
    """The consumer beside a follower, against one that keeps no feed."""
    events = new_events(1, count)
    newer = new_events(1, count, edition=1)
    emails = email_events(2, count, window=1000)
    documents = [to_document(value) for value in events]
    gc.collect()
    gc.freeze()

    async def fill(mongo: Mongo) -> None:
        await limits.insert(mongo.activities, documents)

    async def leave_empty(_: Mongo) -> None:
        return

    for what, values, prepare, at_least in (
        ("new activities", events, leave_empty, 0.95),
        ("updates", newer, fill, 0.93),
        ("emails", emails, leave_empty, 0.93),
    ):
        topic = await publish(bench, values)
        sides = [
            partial(_ingest, bench, topic, len(values), prepare, tells) for tells in (True, False)
        ]
        told, untold = await alternate(rounds, *sides)
        what += ", fed and followed"
        report.add(Line(what, "no feed", "records/s", told, untold, at_least=at_least))


async def _ingest(
    bench: Bench,
    topic: str,
    count: int,
    prepare: Callable[[Mongo], Awaitable[None]],
    tells: bool,
) -> float:
    async with database(bench) as (name, mongo):
        await prepare(mongo)
        if not tells:
            return await consume(bench, name, topic, count)
        async with (
            serving(bench, name) as (api, key),
            followed(api, [f"{LISTING}?lead_id=lead_quiet"], [key], ignore),
        ):
            return await consume(bench, name, topic, count, feed_hours=FEED_HOURS)


async def measure_pushed(report: Report, bench: Bench, *, rounds: int) -> None:
    """From publish to pushed, to one who follows all of an organization, beside publish to visible."""
    visible, pushed = list[list[float]](), list[list[float]]()
    for _ in range(rounds):
        async with database(bench) as (name, _mongo):
            both = await _visible_and_pushed(bench, name)
        visible.append(both[0])
        pushed.append(both[1])
    for share, most in ((0.5, 100), (0.99, 150)):
        sides = [
            [quantile(seconds, share) * 1000 for seconds in side] for side in (pushed, visible)
        ]
        more = [ours - theirs for ours, theirs in zip(*sides, strict=True)]
        what = f"publish to pushed at {RATE} events/s beyond visible, p{share * 100:.0f}"
        notes = (f"{quantile(side, 0.5):.0f} ms" for side in sides)
        note = "pushed {}, visible {}".format(*notes)
        report.add(Line(what, "-", "ms", more, [], at_most=most, note=note))


async def _visible_and_pushed(bench: Bench, name: str) -> tuple[list[float], list[float]]:
    topic = await create_topic(bench)
    pushed: list[float] = []
    are_all_pushed = asyncio.Event()
    pattern = re.compile(rb'"date_created":"([^"]+)"')

    def told(data: bytes) -> None:
        now = time.time()
        times = [datetime.fromisoformat(text.decode()) for text in pattern.findall(data)]
        pushed.extend(now - one.timestamp() for one in times)
        if len(pushed) >= RATE * SECONDS:
            are_all_pushed.set()

    async with (
        serving(bench, name) as (api, key),
        consumer(bench, name, topic, feed_hours=FEED_HOURS) as process,
    ):
        await until_ready(process)
        target = Target(api.port, authorization(key))
        producer = AIOKafkaProducer(bootstrap_servers=bench.kafka_servers)
        await producer.start()
        try:
            async with followed(api, [f"{LISTING}?_limit=1&_fields=date_created"], [key], told):
                visible = await visible_seconds(
                    target, producer, topic, events_per_second=RATE, count=RATE * SECONDS
                )
                await asyncio.wait_for(are_all_pushed.wait(), SECONDS)
        finally:
            await producer.stop()
    return visible, pushed[RATE:]


async def measure_idle(report: Report, bench: Bench, *, rounds: int) -> None:
    """What followers to whom nothing happens cost in memory, and those who ask."""
    kilobytes = list[float]()
    paths = [f"{LISTING}?lead_id={ordinary_lead(number)}&_limit=1" for number in range(IDLE)]
    alone, beside = list[float](), list[float]()
    async with (
        stored(bench.mongo_url, STORED) as store,
        serving(bench, store.name) as (api, key),
    ):
        keys = [key, store.key]
        target = Target(api.port, authorization(key))
        await rate(target, [LISTING], PAGES)
        for _ in range(rounds):
            alone.append(await rate(target, [LISTING], PAGES))
            before = _resident_kilobytes(api)
            async with followed(api, paths, keys, ignore):
                kilobytes.append((_resident_kilobytes(api) - before) / IDLE)
                gc.collect()
                gc.freeze()
                beside.append(await rate(target, [LISTING], PAGES))
            await _until_no_followers(api)
    what = f"requests beside {IDLE:,} idle followers"
    report.add(Line(what, "without", "req/s", beside, alone, at_least=0.9))
    # Later rounds use again what the first has left.
    line = Line("memory of an idle follower", "-", "kB", kilobytes[:1], [], at_most=40)
    report.add(line)


async def measure_busy(report: Report, bench: Bench) -> None:
    """Many followers of one lead: what one change of it costs."""
    async with database(bench) as (name, _mongo), serving(bench, name) as (api, key):
        topic = await create_topic(bench)
        keys = [key, await create_key(bench.mongo_url, name)]
        paths = [f"{LISTING}?lead_id={to_id('lead', 0)}"] * BUSY
        source = random.Random(5)
        place = Place(READER, to_id("lead", 0), "Call", START)
        events = [event(source, place, number) for number in range(CHANGES)]
        async with consumer(bench, name, topic, feed_hours=FEED_HOURS) as process:
            await until_ready(process)
            async with followed(api, paths, keys, ignore):
                before = await metric(api, "activity_follow_evaluations_total")
                for value in events:
                    await publish(bench, [value], topic=topic)
                await _until_told(api, len(events) * BUSY)
                asked = await metric(api, "activity_follow_evaluations_total") - before
    note = f"{len(events)} changes"
    what = f"evaluations for {BUSY:,} followers of one lead"
    report.add(Line(what, "changes", "", [asked], [float(len(events))], at_most=1, note=note))


def _resident_kilobytes(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def _until_told(api: Process, count: int) -> None:
    while await metric(api, "activity_follow_events_total") < count:  # noqa: ASYNC110 likewise
        await asyncio.sleep(0.1)


async def _until_no_followers(api: Process) -> None:
    while await metric(api, "activity_followers"):  # noqa: ASYNC110 another process says so
        await asyncio.sleep(0.05)


async def metric(process: Process, name: str) -> float:
    """A metric without labels, as the process tells it."""
    url = f"http://127.0.0.1:{process.operations_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        families = text_string_to_metric_families(await answer.text())
    return sum(
        sample.value for family in families for sample in family.samples if sample.name == name
    )
