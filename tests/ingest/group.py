"""A consumer group of a test: its topics, its members, its store, and what the model makes of it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError

from consumers.health import Health
from consumers.process import work
from consumers.quarantine import Quarantine
from deploy.local.kafka import administration
from service.settings import IngestSettings, KafkaSettings
from service.store.mongo import Mongo
from tests.conftest import Topics
from tests.model import Model

DEADLINE_SECONDS = 60.0
QUICK = {"commit_interval_seconds": 0.05, "retry_max_seconds": 0.5, "operations_port": 0}


@dataclass(frozen=True, slots=True)
class Member:
    """A consumer that runs inside the test's process."""

    task: asyncio.Task[None]
    stop: asyncio.Event
    health: Health


@dataclass(slots=True)
class Group:
    """`publish` what producers would, run members, wait `until_worked_off`, compare."""

    topics: Topics
    mongo: Mongo
    model: Model = field(default_factory=Model)

    def kafka(self, **settings: Any) -> KafkaSettings:
        own: dict[str, Any] = {
            "bootstrap_servers": self.topics.bootstrap_servers,
            "topics": self.topics.names,
            "dead_letter_topic": self.topics.dead_letter,
            "group_id": self.topics.group_id,
        }
        return KafkaSettings(**own | settings)

    @asynccontextmanager
    async def member(
        self, kafka: KafkaSettings | None = None, **ingest: Any
    ) -> AsyncIterator[Member]:
        """One more consumer; stopped at the end as by SIGTERM. Its failure is raised there."""
        stop, health = asyncio.Event(), Health()
        settings = IngestSettings(**QUICK | ingest)
        task = asyncio.create_task(work(kafka or self.kafka(), settings, self.mongo, health, stop))
        try:
            yield Member(task, stop, health)
        finally:
            stop.set()
            await task

    async def publish(
        self,
        values: Iterable[bytes | None],
        *,
        key: Callable[[int], bytes | None] = lambda number: b"%d" % number,
        **options: Any,
    ) -> None:
        """Publish record values over all topics; the model applies them, too."""
        async with self.producer(**options) as producer:
            for number, value in enumerate(values):
                topic = self.topics.names[number % len(self.topics.names)]
                await producer.send(topic, key=key(number), value=value)
                self.model.apply(value)

    @asynccontextmanager
    async def producer(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.topics.bootstrap_servers,
            max_request_size=20 * 1024 * 1024,
            **options,
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def until_worked_off(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until every position of the group is at the end of its partition."""

        async def has_no_lag() -> bool:
            try:
                return not any((await self.lag()).values())
            except KafkaError:
                return False  # a broker that is away, or chooses a coordinator still

        await until(has_no_lag, deadline_seconds)

    async def add_partitions(self, total: int) -> None:
        """Give each topic more partitions, `total` of them."""
        async with administration(self.topics.bootstrap_servers) as admin:
            await admin.create_partitions(
                {name: NewPartitions(total) for name in self.topics.names}
            )

        async def are_there() -> bool:
            return len(await self.lag()) == total * len(self.topics.names)

        await until(are_there)

    async def lag(self) -> dict[TopicPartition, int]:
        """Records behind the committed positions, transaction markers included."""
        ends = await self._ends()
        async with administration(self.topics.bootstrap_servers) as admin:
            committed = await admin.list_consumer_group_offsets(self.topics.group_id)
        positions = {partition: found.offset for partition, found in committed.items()}
        return {tp: end - max(0, positions.get(tp, 0)) for tp, end in ends.items()}

    async def _ends(self) -> dict[TopicPartition, int]:
        names = self.topics.names
        consumer = AIOKafkaConsumer(*names, bootstrap_servers=self.topics.bootstrap_servers)
        try:
            await consumer.start()
            ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
            return ends
        finally:
            await consumer.stop()

    async def dead_letters(self) -> list[ConsumerRecord]:
        """All records of the dead-letter topic."""
        consumer = AIOKafkaConsumer(
            self.topics.dead_letter,
            bootstrap_servers=self.topics.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=20 * 1024 * 1024,
        )
        await consumer.start()
        try:
            found: list[ConsumerRecord] = []
            ends = await consumer.end_offsets(consumer.assignment())
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def stored(self) -> dict[str, dict[str, Any]]:
        """By organization: every activity and thread as the API shows them, by kind and id."""
        shown: dict[str, dict[str, Any]] = {}
        async for document in self.mongo.activities.find({"_type": {"$exists": True}}):
            del document["_id"], document["_meta"]
            content = orjson.loads(orjson.dumps(document, option=orjson.OPT_NAIVE_UTC))
            own = shown.setdefault(document["organization_id"], {})
            own[content["id"]] = content | {"id": content["id"].removesuffix("!thread")}
        return shown

    def expected(self) -> dict[str, dict[str, Any]]:
        """The same from the model."""
        shown = {}
        for organization in self.model.organizations():
            activities = self.model.activities(organization)
            threads = self.model.threads(organization)
            rows = activities | {f"{id_}!thread": row for id_, row in threads.items()}
            if rows:
                shown[organization] = rows
        return shown

    async def check(self) -> None:
        """The store holds exactly what the model says, and every bad record was set aside."""
        stored, expected = await self.stored(), self.expected()
        assert stored == expected
        set_aside = {letter.value for letter in await self.dead_letters()}
        assert set_aside == {value for value, _ in self.model.dead_letters}


def environment(group: Group, mongo_url: str, database: str, **more: str) -> dict[str, str]:
    """What a consumer process of this group needs to know."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACTIVITY_")}
    return {
        **kept,
        **group.topics.environment(),
        "ACTIVITY_MONGO_URL": mongo_url,
        "ACTIVITY_MONGO_DATABASE": database,
        "ACTIVITY_OPERATIONS_PORT": "0",
        "ACTIVITY_COMMIT_INTERVAL_SECONDS": "0.1",
        "ACTIVITY_RETRY_MAX_SECONDS": "0.5",
        **more,
    }


async def spawn(
    environment: dict[str, str],
    *arguments: str,
    module: str = "consumers",
    has_input: bool = False,
) -> asyncio.subprocess.Process:
    """A command of the consumers as a process of its own; its output is for `communicate`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.PIPE if has_input else None,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def attentive(health: Health) -> Quarantine:
    """A quarantine to which no operator has said anything."""

    async def is_never_skipped(partition: TopicPartition, offset: int) -> bool:  # noqa: ARG001
        return False

    return Quarantine(health, is_never_skipped)


async def until(
    condition: Callable[[], Awaitable[bool]], deadline_seconds: float = DEADLINE_SECONDS
) -> None:
    """Ask until it holds; fail when it does not within the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)
