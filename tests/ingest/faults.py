"""The fault matrix: each fault on real servers and real processes, judged by the model.

`make faults` runs the long form and prints the table; the tests run the short one.
"""

import asyncio
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from consumers.cluster import quiet_client
from deploy.local.commands import ConsumerProcess, run_command
from deploy.local.folders import run_folder
from deploy.local.kafka import (
    KafkaServer,
    administration,
    create_dead_letter_topic,
    delete_topics,
)
from deploy.local.mongodb import MongoServer
from deploy.local.stack import running
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import connect
from tests.conftest import new_topics
from tests.factories import BAD_RECORDS, activity, event, realistic_events, record
from tests.ingest.bombs import MEBIBYTE, any_bombs, send_batch
from tests.ingest.group import Group, environment, until

CHUNK = 20
SHARE_OF_POISON = 0.01
SHARE_OF_REPEATS = 0.05
MAX_UNPACKED_BYTES = 64 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how often a fault is injected."""

    events: int
    kills: int
    away_seconds: float
    joins: int
    store_timeout_seconds: float
    bombs: int


SHORT = Scale(events=200, kills=2, away_seconds=2.5, joins=2, store_timeout_seconds=1, bombs=5)
LONG = Scale(events=5000, kills=20, away_seconds=45, joins=60, store_timeout_seconds=5, bombs=1000)
BOMBED_PROCESS_BYTES = 1024 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Row:
    """What a fault did. `seconds` run from its end to the last position committed."""

    fault: str
    events: int
    injected: int
    lost: int
    doubled: int
    stale: int
    seconds: float


@dataclass(slots=True)
class World:
    """A group, a consumer process and the two servers that a fault may break."""

    group: Group
    mongo_server: MongoServer
    kafka_server: KafkaServer
    settings: dict[str, str]
    folder: Path
    scale: Scale
    rng: random.Random
    log: list[bytes | None]
    consumers: list[ConsumerProcess] = field(default_factory=list)

    @property
    def consumer(self) -> ConsumerProcess:
        return self.consumers[0]

    def add_consumer(self, **settings: str) -> ConsumerProcess:
        """A consumer process, not started yet."""
        folder = self.folder / f"consumer-{len(self.consumers)}"
        self.consumers.append(ConsumerProcess(folder, self.settings | settings))
        return self.consumers[-1]

    async def publish(self, part: Sequence[bytes | None], seconds: float = 0) -> None:
        """Publish these records, spread over so many seconds."""
        pause = seconds * CHUNK / max(1, len(part))
        patient = {"enable_idempotence": True, "request_timeout_ms": 180_000}
        async with self.group.producer(**patient) as producer:
            for start in range(0, len(part), CHUNK):
                for value in part[start : start + CHUNK]:
                    key = b"%d" % self.rng.randrange(50)
                    topic = self.rng.choice(self.group.topics.names)
                    await producer.send(topic, key=key, value=value)
                    self.group.model.apply(value)
                await asyncio.sleep(pause)

    async def during(self, seconds: float, inject: Callable[[], Awaitable[None]]) -> None:
        """Inject while the second half of the log is published over so many seconds."""
        publishing = asyncio.create_task(self.publish(self.later, seconds))
        await asyncio.sleep(seconds / 10)
        await inject()
        await publishing

    @property
    def earlier(self) -> list[bytes | None]:
        return self.log[: len(self.log) // 2]

    @property
    def later(self) -> list[bytes | None]:
        return self.log[len(self.log) // 2 :]

    async def judge(self) -> tuple[int, int, int]:
        """Lost, doubled, stale: activities and threads that are missing, that nobody published,
        that are not in their newest state. A bad record that was not set aside is lost, too."""
        stored, expected = await self.group.stored(), self.group.expected()
        there = {(owner, id_): row for owner, rows in stored.items() for id_, row in rows.items()}
        due = {(owner, id_): row for owner, rows in expected.items() for id_, row in rows.items()}
        bad = {value for value, _ in self.group.model.dead_letters}
        letters = await self.group.dead_letters()
        set_aside = {letter.value for letter in letters if not _is_packed(letter)}
        lost = len(due.keys() - there.keys()) + len(bad - set_aside)
        doubled = len(there.keys() - due.keys()) + len(set_aside - bad)
        stale = sum(there[key] != due[key] for key in there.keys() & due.keys())
        return lost, doubled, stale


async def consumer_killed(world: World) -> int:
    async def inject() -> None:
        for _ in range(world.scale.kills):
            await asyncio.sleep(world.rng.random() / 2)
            world.consumer.kill()
            await world.consumer.start()

    await world.during(world.scale.kills, inject)
    return world.scale.kills


async def mongodb_killed(world: World) -> int:
    times = max(1, world.scale.kills // 5)

    async def inject() -> None:
        for _ in range(times):
            world.mongo_server.kill()
            await asyncio.sleep(1)
            await world.mongo_server.start()

    await world.during(2, inject)
    return times


async def mongodb_silent(world: World) -> int:
    """SIGSTOP for longer than every timeout of the client."""

    async def inject() -> None:
        world.mongo_server.pause()
        await asyncio.sleep(world.scale.away_seconds)
        world.mongo_server.resume()

    await world.during(1, inject)
    return 1


async def kafka_killed(world: World) -> int:
    times = max(1, world.scale.kills // 5)

    async def inject() -> None:
        for _ in range(times):
            world.kafka_server.kill()
            await asyncio.sleep(1)
            await world.kafka_server.start()

    await world.during(2, inject)
    return times


async def kafka_silent(world: World) -> int:
    async def inject() -> None:
        world.kafka_server.pause()
        await asyncio.sleep(world.scale.away_seconds)
        world.kafka_server.resume()

    await world.during(1, inject)
    return 1


async def members_come_and_go(world: World) -> int:
    async def inject() -> None:
        for _ in range(world.scale.joins):
            async with world.group.member():
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.5)

    await world.during(world.scale.joins, inject)
    return world.scale.joins


async def poison(world: World) -> int:
    await world.publish(world.later)
    return len(world.group.model.dead_letters)


async def dead_letter_topic_deleted(world: World) -> int:
    """Its records would be lost with it, so it is empty when it goes."""
    topics = world.group.topics
    await world.group.until_worked_off()
    await delete_topics(topics.bootstrap_servers, [topics.dead_letter])

    async def inject() -> None:
        await asyncio.sleep(world.scale.away_seconds)
        assert any((await world.group.lag()).values()), "nothing waited for the topic"
        await create_dead_letter_topic(topics.bootstrap_servers, topics.dead_letter)

    await world.during(1, inject)
    return 1


async def rebalance_while_paused(world: World) -> int:
    async def inject() -> None:
        world.mongo_server.pause()
        await asyncio.sleep(world.scale.away_seconds / 2)
        async with world.group.member():
            await asyncio.sleep(world.scale.away_seconds / 2)
            world.mongo_server.resume()

    await world.during(1, inject)
    return 1


async def one_instance_id_twice(world: World) -> int:
    """One of the two, or both, end with a clear line; whoever starts next works on."""
    static = {"ACTIVITY_KAFKA_GROUP_INSTANCE_ID": "pod-1"}
    world.consumer.kill()
    world.consumers.clear()
    twins = [world.add_consumer(**static) for _ in range(2)]
    for twin in twins:
        await twin.start()

    async def has_one_ended() -> bool:
        return not all(twin.is_running for twin in twins)

    await world.during(1, lambda: until(has_one_ended, 90))
    ended = [twin for twin in twins if not twin.is_running]
    assert all("ACTIVITY_KAFKA_GROUP_INSTANCE_ID=pod-1" in _log(twin) for twin in ended)
    for twin in twins:
        twin.kill()
    return 1


async def document_refused(world: World) -> int:
    data = activity("Note", organization_id="orga_1", filler=[0] * 1_400_000)
    refused = record(event(data, id="ev_refused"))
    topic = world.group.topics.names[0]
    async with world.group.producer() as producer:
        await producer.send_and_wait(topic, refused, key=b"refused")
    world.group.model.dead_letters.append((refused, "too_large"))
    await world.publish(world.later)
    return 1


async def writes_blocked(world: World) -> int:
    """By an operator, as the cut-over of a migration does."""
    block = world.group.mongo.client.admin.command

    async def inject() -> None:
        await block("setUserWriteBlockMode", 1, **{"global": True})
        try:
            await asyncio.sleep(world.scale.away_seconds)
        finally:
            await block("setUserWriteBlockMode", 1, **{"global": False})

    await world.during(1, inject)
    return 1


async def bombs(world: World) -> int:
    """Small to send, huge to unpack or to parse, between live events, for a process that may have a
    gibibyte."""
    world.consumer.kill()
    world.consumers.clear()
    consumer = world.add_consumer(ACTIVITY_DEAD_LETTER_MAX_RATIO="1")
    await consumer.start()
    limit = (BOMBED_PROCESS_BYTES, BOMBED_PROCESS_BYTES)
    resource.prlimit(consumer.pid, resource.RLIMIT_DATA, limit)
    topics = world.group.topics

    async def inject() -> None:
        for codec, values, headers in any_bombs(world.rng, world.scale.bombs):
            many: list[tuple[str, bytes | None]] = [("", b"")] * headers
            await send_batch(
                topics.bootstrap_servers, topics.names[0], values, codec=codec, headers=many
            )
            if sum(len(value or b"") for value in values) <= MAX_UNPACKED_BYTES:
                for value in values[:1] if len(set(values)) == 1 else values:
                    world.group.model.apply(value)

    await world.during(1, inject)
    await world.group.until_worked_off(600)
    assert consumer.is_running, "the consumer did not survive"
    return world.scale.bombs


async def batch_damaged(world: World) -> int:
    """One byte on the broker's disk; an operator has it passed over."""
    topic = world.group.topics.names[0]
    await world.group.until_worked_off()
    world.consumer.kill()
    async with world.group.producer() as producer:
        sent = await producer.send_and_wait(topic, b'{"damaged": 1}', partition=0)
    flip_byte(world.kafka_server.folder, topic, b"damaged")
    await world.consumer.start()

    async def inject() -> None:
        arguments = ("consumers", "skip", topic, "0", str(sent.offset))
        await run_command(*arguments, environment=world.settings)

    await world.during(2, inject)
    return 1


async def topic_made_again(world: World) -> int:
    """While the consumer runs, and with more in it than before."""
    topics = world.group.topics
    await world.group.until_worked_off()
    await make_again(topics.bootstrap_servers, topics.names[0])
    await world.publish(world.later)
    return 1


async def retention_passed(world: World) -> int:
    """While the consumer is away: what was never read is told."""
    topic = world.group.topics.names[0]
    await world.group.until_worked_off()
    world.consumer.kill()
    async with world.group.producer() as producer:
        sent = [await producer.send_and_wait(topic, b"gone", partition=0) for _ in range(20)]
    async with administration(world.group.topics.bootstrap_servers) as admin:
        gone = {TopicPartition(topic, 0): RecordsToDelete(sent[-1].offset + 1)}
        await admin.delete_records(gone)
    await world.consumer.start()
    await world.publish(world.later)
    await world.group.until_worked_off()
    assert '"records_missing": 20' in _log(world.consumer)
    return 20


FAULTS: dict[str, Callable[[World], Awaitable[int]]] = {
    fault.__name__: fault
    for fault in (
        consumer_killed,
        mongodb_killed,
        mongodb_silent,
        kafka_killed,
        kafka_silent,
        members_come_and_go,
        poison,
        dead_letter_topic_deleted,
        rebalance_while_paused,
        one_instance_id_twice,
        document_refused,
        writes_blocked,
        bombs,
        batch_damaged,
        topic_made_again,
        retention_passed,
    )
}


async def run_fault(
    name: str, mongo_server: MongoServer, kafka_server: KafkaServer, scale: Scale, seed: int
) -> Row:
    """A fresh group and database, half of the log, the fault with the other half, the verdict."""
    rng = random.Random(f"{seed}-{name}")
    async with _world(mongo_server, kafka_server, scale, rng) as world:
        # Static: whoever is killed has its partitions back as soon as it is.
        world.add_consumer(ACTIVITY_KAFKA_GROUP_INSTANCE_ID="pod-0")
        await world.consumer.start()
        await world.publish(world.earlier)
        injected = await FAULTS[name](world)
        began = time.monotonic()
        if not any(consumer.is_running for consumer in world.consumers):
            await world.consumer.start()
        await world.group.until_worked_off(180)
        seconds = time.monotonic() - began
        for consumer in world.consumers:
            consumer.kill()
        return Row(name, len(world.log), injected, *await world.judge(), seconds)


@asynccontextmanager
async def _world(
    mongo_server: MongoServer, kafka_server: KafkaServer, scale: Scale, rng: random.Random
) -> AsyncIterator[World]:
    topics = await new_topics(kafka_server.bootstrap_servers)
    database = topics.group_id.replace(".", "_")
    mongo_settings = MongoSettings(
        url=SecretStr(mongo_server.url),
        database=database,
        timeout_seconds=scale.store_timeout_seconds,
        socket_timeout_seconds=scale.store_timeout_seconds,
    )
    timeout = str(scale.store_timeout_seconds)
    async with AsyncExitStack() as cleanup:
        folder = cleanup.enter_context(run_folder())
        mongo = await cleanup.enter_async_context(connect(mongo_settings))
        await ensure_indexes(mongo, RetentionSettings())
        group = Group(topics, mongo)
        settings = environment(
            group,
            mongo_server.url,
            database,
            ACTIVITY_MONGO_TIMEOUT_SECONDS=timeout,
            ACTIVITY_MONGO_SOCKET_TIMEOUT_SECONDS=timeout,
            ACTIVITY_KAFKA_SESSION_TIMEOUT_SECONDS="6",
        )
        log = _make_log(scale.events, rng)
        world = World(group, mongo_server, kafka_server, settings, folder, scale, rng, log)
        try:
            yield world
        finally:
            for consumer in world.consumers:
                consumer.kill()
            await mongo.client.drop_database(database)


def _make_log(events: int, rng: random.Random) -> list[bytes | None]:
    """Realistic events in any order, some twice; all the poison is in the second half."""
    seed = rng.randrange(2**32)
    good = [record(one) for one in realistic_events(seed, events, leads=20, share_of_updates=0.3)]
    good += rng.sample(good, int(events * SHARE_OF_REPEATS))
    rng.shuffle(good)
    all_bad = [value for values in BAD_RECORDS.values() for value in values]
    bad = rng.sample(all_bad, min(len(all_bad), max(3, int(events * SHARE_OF_POISON))))
    half = len(good) // 2
    later = [*good[half:], *bad, None]
    rng.shuffle(later)
    padding: list[bytes | None] = [None] * (len(later) - half)
    return [*good[:half], *padding, *later]


def flip_byte(folder: Path, topic: str, content: bytes) -> None:
    """In partition 0, on the disk of the broker, in the one batch that holds this."""
    (segment,) = folder.glob(f"data/{topic}-0/*.log")
    stored = segment.read_bytes()
    place = stored.index(content)
    with segment.open("r+b") as file:
        file.seek(place)
        file.write(bytes([stored[place] ^ 1]))


async def make_again(bootstrap_servers: str, topic: str) -> None:
    """Delete a topic and create it under the same name, of two partitions."""
    await delete_topics(bootstrap_servers, [topic])

    async def is_made() -> bool:
        async with administration(bootstrap_servers) as admin:
            answer = await admin.create_topics([NewTopic(topic, 2, 1)])
        return not answer.topic_errors[0][1]

    await until(is_made)


def _is_packed(letter: ConsumerRecord) -> bool:
    return bool(dict(letter.headers)["activity.error.code"] == b"batch_too_large")


def _log(consumer: ConsumerProcess) -> str:
    return consumer.log_path.read_text(errors="replace")


async def _run_all(scale: Scale, seed: int) -> list[Row]:
    with run_folder() as folder:
        mongo_server = MongoServer(folder / "mongodb", with_failpoints=True)
        kafka_server = KafkaServer(folder / "kafka")
        rows = []
        async with running(mongo_server, kafka_server):
            for name in FAULTS:
                print(f"{name} ...", file=sys.stderr, flush=True)
                rows.append(await run_fault(name, mongo_server, kafka_server, scale, seed))
                await mongo_server.recover()
                await kafka_server.recover()
        return rows


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10**6)
    with quiet_client():
        rows = asyncio.run(_run_all(LONG, seed))
    table = Table(title=f"faults, seed {seed}")
    columns = ("fault", "events", "injected", "lost", "doubled", "stale", "seconds to recover")
    for column in columns:
        table.add_column(column, justify="left" if column == "fault" else "right")
    for row in rows:
        figures = (row.events, row.injected, row.lost, row.doubled, row.stale)
        table.add_row(row.fault.replace("_", " "), *map(str, figures), f"{row.seconds:.1f}")
    Console(width=120).print(table)
    sys.exit(any(row.lost or row.doubled or row.stale for row in rows))


if __name__ == "__main__":
    main()
