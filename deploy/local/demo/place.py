"""Where the demo takes place: its topics, its database, its key, its two processes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pymongo import AsyncMongoClient

from consumers.cluster import quiet_client, require_kafka
from consumers.topics import FAMILIES, OTHER_FAMILY
from deploy.local.commands import ApiProcess, ConsumerProcess, run_command
from deploy.local.demo.journal import ORGANIZATION
from deploy.local.kafka import create_dead_letter_topic, create_topics, delete_topics
from deploy.local.processes import Server
from deploy.local.stack import Stack, running
from service.settings import KafkaSettings, MongoSettings, read_section
from service.store.mongo import connect, require_mongo

PARTITIONS = 3
_SHOWN = (
    "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS",
    "ACTIVITY_KAFKA_TOPICS",
    "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC",
    "ACTIVITY_KAFKA_GROUP_ID",
    "ACTIVITY_MONGO_URL",
    "ACTIVITY_MONGO_DATABASE",
)


@dataclass(frozen=True, slots=True)
class Place:
    """`topics` are by family. On servers of somebody else all names are the demo's own."""

    stack: Stack
    topics: Mapping[str, str]
    dead_letter_topic: str
    database: str
    environment: Mapping[str, str]

    @property
    def shown_environment(self) -> Mapping[str, str]:
        """What a command in another terminal needs: no secrets, and nothing of the API's own."""
        return {name: self.environment[name] for name in _SHOWN}

    @property
    def bootstrap_servers(self) -> str:
        return self.stack.kafka.bootstrap_servers


async def require_external(stack: Stack) -> None:
    """Raises `StartError` where servers of somebody else cannot be worked with."""
    if not isinstance(stack.mongo, Server):
        async with connect(read_section(MongoSettings)) as mongo:
            await require_mongo(mongo)
    if not isinstance(stack.kafka, Server):
        with quiet_client():
            await require_kafka(read_section(KafkaSettings))


def choose_place(stack: Stack) -> Place:
    is_ours = isinstance(stack.kafka, Server) and isinstance(stack.mongo, Server)
    mark = "" if is_ours else f"demo_{secrets.token_hex(4)}."
    families = [*sorted(set(FAMILIES.values())), OTHER_FAMILY]
    topics = {family: f"{mark}activity.{family}" for family in families}
    dead_letter_topic = f"{mark}activity.dead_letters"
    database = f"{mark}activity".replace(".", "_")
    settings = {
        "ACTIVITY_MONGO_DATABASE": database,
        "ACTIVITY_KAFKA_TOPICS": ",".join(topics.values()),
        "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": dead_letter_topic,
        "ACTIVITY_KAFKA_GROUP_ID": f"{mark}activity-consumers",
        "ACTIVITY_CURSOR_SECRET": secrets.token_hex(32),
        "ACTIVITY_RATE_LIMIT": "1000/second",  # the demo looks every few milliseconds
    }
    return Place(stack, topics, dead_letter_topic, database, stack.environment() | settings)


@asynccontextmanager
async def furnished(place: Place) -> AsyncIterator[str]:
    """Topics, indexes and an API key, which is yielded. Leaves nothing on somebody else's servers.

    Raises `StartError`.
    """
    servers, environment = place.bootstrap_servers, place.environment
    key = ("service", "keys", "create", "--organization", ORGANIZATION, "--name", "demo")
    try:
        await create_topics(servers, place.topics.values(), partitions=PARTITIONS)
        await create_dead_letter_topic(servers, place.dead_letter_topic)
        await run_command("service", "indexes", environment=environment)
        yield await run_command(*key, environment=environment)
    finally:
        try:
            if not isinstance(place.stack.kafka, Server):
                await delete_topics(servers, [*place.topics.values(), place.dead_letter_topic])
        finally:
            if not isinstance(place.stack.mongo, Server):
                async with AsyncMongoClient[dict[str, object]](place.stack.mongo.url) as client:
                    await client.drop_database(place.database)


@dataclass(frozen=True, slots=True)
class Processes:
    consumer: ConsumerProcess
    api: ApiProcess

    async def stop(self) -> tuple[int, int]:
        """SIGTERM to both; their exit statuses."""
        consumer, api = await asyncio.gather(self.consumer.stop(), self.api.stop())
        return consumer, api


@asynccontextmanager
async def running_processes(place: Place, folder: Path) -> AsyncIterator[Processes]:
    """The consumer and the API, ready. Raises `StartError`."""
    consumer = ConsumerProcess(folder / "consumer", place.environment)
    api = ApiProcess(folder / "api", place.environment)
    async with running(consumer, api):
        yield Processes(consumer, api)
