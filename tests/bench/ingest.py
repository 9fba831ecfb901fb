"""Writing: the consumer process against loops that do only the unavoidable part."""

import asyncio
import gc
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from tests.bench import limits
from tests.bench.corpus import email_events, new_events, to_document
from tests.bench.measure import Line, Report, alternate
from tests.bench.processes import Process, running

PARTITIONS = 4
FEED_HOURS = 24
FIRST_LOOK_SECONDS = 0.1
LOOK_SECONDS = 0.5
BACKLOG_SECONDS = 300.0


@dataclass(slots=True)
class Bench:
    """Where the ingest lines run, and the names they have used up."""

    mongo_url: str
    kafka_servers: str
    logs: Path
    names: Iterator[int] = field(default_factory=itertools.count)
    consumer_megabytes: float = 0.0

    def name(self, kind: str) -> str:
        return f"bench-{kind}-{next(self.names)}"


@asynccontextmanager
async def database(bench: Bench) -> AsyncIterator[tuple[str, Mongo]]:
    """A fresh database with all indexes, those of a feed among them."""
    name = bench.name("database")
    async with connect(MongoSettings(url=bench.mongo_url, database=name)) as mongo:
        await ensure_indexes(mongo, RetentionSettings(feed_hours=FEED_HOURS))
        yield name, mongo
        await mongo.client.drop_database(name)


async def publish(bench: Bench, values: list[bytes], *, topic: str | None = None) -> str:
    """Put the values into a topic of their own, or into `topic`, keyed by lead."""
    name = topic or await create_topic(bench)
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka_servers, linger_ms=5)
    await producer.start()
    try:
        sent = [
            await producer.send(name, value, key=orjson.loads(value)["lead_id"].encode())
            for value in values
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return name


async def create_topic(bench: Bench, partitions: int = PARTITIONS) -> str:
    """A new topic and its dead-letter topic (the same name with `.dead` behind it)."""
    name = bench.name("topic")
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka_servers)
    await admin.start()
    try:
        dead = {"max.message.bytes": str(16 * 1024 * 1024)}
        await admin.create_topics(
            [
                NewTopic(name, partitions, 1),
                NewTopic(f"{name}.dead", 1, 1, topic_configs=dead),
            ]
        )
    finally:
        await admin.close()
    return name


@asynccontextmanager
async def consumer(
    bench: Bench, name: str, *topics: str, feed_hours: float = 0
) -> AsyncIterator[Process]:
    """A consumer process in a group of its own, on the database `name`; without hours it keeps no
    feed."""
    group = bench.name("group")
    environment = {
        "ACTIVITY_MONGO_URL": bench.mongo_url,
        "ACTIVITY_MONGO_DATABASE": name,
        "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": bench.kafka_servers,
        "ACTIVITY_KAFKA_TOPICS": ",".join(topics),
        "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": f"{topics[0]}.dead",
        "ACTIVITY_KAFKA_GROUP_ID": group,
        "ACTIVITY_FEED_HOURS": str(feed_hours),
        "ACTIVITY_OPERATIONS_PORT": "0",
    }
    async with running(
        "consumers",
        "run",
        environment=environment,
        log=bench.logs / f"{group}.log",
    ) as process:
        yield process
        bench.consumer_megabytes = max(bench.consumer_megabytes, process.memory_megabytes())


async def records_done(session: aiohttp.ClientSession, process: Process) -> int:
    """Records that the process says are durable."""
    async with session.get(f"http://127.0.0.1:{process.operations_port}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return int(
        sum(
            sample.value
            for family in families
            if family.name == "activity_records"
            for sample in family.samples
            if sample.name == "activity_records_total"
        )
    )


async def consume(
    bench: Bench, name: str, topic: str, count: int, *, feed_hours: float = 0
) -> float:
    """Records a second of a consumer process on a backlog, from its first durable ones.

    Looks are rare, for they take the consumer's time. The one that finds all records comes some
    time after the last of them, so the one before it counts.
    """
    async with (
        consumer(bench, name, topic, feed_hours=feed_hours) as process,
        aiohttp.ClientSession() as session,
    ):
        looks: list[tuple[float, int]] = []
        deadline = time.monotonic() + BACKLOG_SECONDS
        while not looks or looks[-1][1] < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{looks[-1:]} of {count} records, see {process.log}")
            await asyncio.sleep(LOOK_SECONDS if looks else FIRST_LOOK_SECONDS)
            if done := await records_done(session, process):
                looks.append((time.perf_counter(), done))
        (began, head), (ended, done) = looks[0], looks[-2] if len(looks) > 2 else looks[-1]
        return (done - head) / (ended - began)


async def measure_ingest(report: Report, bench: Bench, *, count: int, rounds: int) -> float:
    """Every ingest line; answers the records a second of new activities."""
    events = new_events(1, count)
    documents = [to_document(event) for event in events]
    newer = [to_document(event) for event in new_events(1, count, edition=1)]
    topic = await publish(bench, events)
    updates = await publish(bench, new_events(1, count, edition=1))
    gc.collect()
    gc.freeze()

    async def ours_new() -> float:
        async with database(bench) as (name, _):
            return await consume(bench, name, topic, count)

    async def limit_new() -> float:
        async with database(bench) as (_, mongo):
            return await limits.insert(mongo.activities, documents)

    async def limit_kafka() -> float:
        async with database(bench) as (_, mongo):
            group = bench.name("group")
            return await limits.consume(mongo.activities, bench.kafka_servers, topic, group, count)

    async def ours_updates() -> float:
        async with database(bench) as (name, mongo):
            await limits.insert(mongo.activities, documents)
            return await consume(bench, name, updates, count)

    async def limit_updates() -> float:
        async with database(bench) as (_, mongo):
            await limits.insert(mongo.activities, documents)
            return await limits.replace(mongo.activities, newer)

    async def ours_again() -> float:
        async with database(bench) as (name, mongo):
            await limits.insert(mongo.activities, documents)
            return await consume(bench, name, topic, count)

    new, memory, bare = await alternate(rounds, ours_new, limit_new, limit_kafka)
    unit = "records/s"
    report.add(Line("new activities", "insert_many", unit, new, memory, at_least=0.55))
    report.add(Line("new activities", "bare Kafka loop", unit, new, bare, at_least=0.85))
    update, again, replaced = await alternate(rounds, ours_updates, ours_again, limit_updates)
    report.add(Line("updates", "guarded replace", unit, update, replaced, at_least=0.75))
    report.add(Line("redelivery", "guarded replace", unit, again, replaced, at_least=0.50))
    return sorted(new)[len(new) // 2]


async def measure_emails(report: Report, bench: Bench, *, count: int, rounds: int) -> None:
    """Emails in conversations of 8, threads refreshed: by time, and as a stream in which hardly
    two of one conversation come in one batch."""
    await _measure_mailbox(
        report, bench, "emails in conversations", count, rounds, window=1000, at_least=0.40
    )
    await _measure_mailbox(
        report, bench, "emails in conversations, scattered", count, rounds, window=count
    )


async def _measure_mailbox(
    report: Report,
    bench: Bench,
    what: str,
    count: int,
    rounds: int,
    *,
    window: int,
    at_least: float | None = None,
) -> None:
    events = email_events(2, count, window=window)
    documents = [to_document(event) for event in events]
    topic = await publish(bench, events)

    async def ours() -> float:
        async with database(bench) as (name, _):
            return await consume(bench, name, topic, len(events))

    async def limit() -> float:
        async with database(bench) as (_, mongo):
            return await limits.insert(mongo.activities, documents)

    email, inserted = await alternate(rounds, ours, limit)
    report.add(Line(what, "insert_many", "records/s", email, inserted, at_least=at_least))
