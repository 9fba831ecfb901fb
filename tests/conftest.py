"""The servers and databases that tests stand on: real ones, started when a test first asks."""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from pymongo import monitoring

from deploy.local.folders import run_folder
from deploy.local.kafka import KafkaServer, create_dead_letter_topic, create_topics, delete_topics
from deploy.local.mongodb import MongoServer
from deploy.local.stack import Kafka as KafkaChoice
from deploy.local.stack import Mongo as MongoChoice
from deploy.local.stack import choose_kafka, choose_mongo, running
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from tests.commands import CommandWatch
from tests.examples import examples

# On a CI machine hypothesis would choose the same examples every time; here it looks for new ones
# and prints what repeats a failure.
hypothesis_settings.register_profile(
    "project", max_examples=examples(50), deadline=None, derandomize=False, print_blob=True
)
hypothesis_settings.load_profile("project")

# Before any client is made: the driver asks its listeners once for each.
_WATCH = CommandWatch()
monitoring.register(_WATCH)

Driver = Literal["pymongo", "motor"]

SERVERS = frozenset({"mongo_server", "kafka_server", "_mongo_to_break", "_kafka_to_break"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands on one of the servers below; a module that starts its own says so itself."""
    for item in items:
        if isinstance(item, pytest.Function) and SERVERS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.server)


@pytest.fixture(autouse=True)
def commands() -> Iterator[CommandWatch]:
    """What the store asks of MongoDB during this test, which is held to I1 and I2 at its end."""
    _WATCH.clear()
    yield _WATCH
    assert not _WATCH.violations


@pytest.fixture(scope="session")
async def mongo_server() -> AsyncIterator[MongoChoice]:
    """The MongoDB of the whole run, at `.url`. Leave it running: see `breakable_mongo_server`."""
    with run_folder() as folder:
        server = choose_mongo(folder)
        async with running(server):
            yield server


@pytest.fixture(scope="session")
async def kafka_server() -> AsyncIterator[KafkaChoice]:
    """The Kafka of the whole run, at `.bootstrap_servers`. Leave it running, too."""
    with run_folder() as folder:
        server = choose_kafka(folder)
        async with running(server):
            yield server


@pytest.fixture(scope="session")
async def _mongo_to_break() -> AsyncIterator[MongoServer]:
    with run_folder() as folder:
        server = MongoServer(folder / "mongodb", with_failpoints=True)
        async with running(server):
            yield server


@pytest.fixture(scope="session")
async def _kafka_to_break() -> AsyncIterator[KafkaServer]:
    with run_folder() as folder:
        server = KafkaServer(folder / "kafka")
        async with running(server):
            yield server


@pytest.fixture
async def breakable_mongo_server(_mongo_to_break: MongoServer) -> AsyncIterator[MongoServer]:
    """A MongoDB with failpoints that a test may kill, pause or stop; it is well again afterwards."""
    yield _mongo_to_break
    await _mongo_to_break.recover()


@pytest.fixture
async def breakable_kafka_server(_kafka_to_break: KafkaServer) -> AsyncIterator[KafkaServer]:
    """A Kafka that a test may kill, pause or stop; it is well again afterwards."""
    yield _kafka_to_break
    await _kafka_to_break.recover()


@pytest.fixture
def database_name() -> str:
    """A name that no other test uses."""
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
def mongo_driver() -> Driver:
    """Which driver `mongo` runs on; tests/store overrides it with both."""
    return "pymongo"


@pytest.fixture
def mongo_settings(
    mongo_server: MongoChoice, database_name: str, mongo_driver: Driver
) -> MongoSettings:
    """Settings of the connection of `mongo`."""
    return MongoSettings(
        url=SecretStr(mongo_server.url), database=database_name, driver=mongo_driver
    )


@pytest.fixture
async def mongo(mongo_settings: MongoSettings) -> AsyncIterator[Mongo]:
    """A connection to a fresh database with all indexes, which keeps a feed; dropped afterwards."""
    async with connect(mongo_settings, keeps_feed=True) as connection:
        await ensure_indexes(connection, RetentionSettings(feed_hours=24))
        yield connection
        await connection.client.drop_database(mongo_settings.database)


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of one test, and the group that reads them."""

    bootstrap_servers: str
    names: tuple[str, ...]
    dead_letter: str
    group_id: str

    def environment(self) -> dict[str, str]:
        """The settings by which a consumer process reads them."""
        return {
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ACTIVITY_KAFKA_TOPICS": ",".join(self.names),
            "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": self.dead_letter,
            "ACTIVITY_KAFKA_GROUP_ID": self.group_id,
        }


@pytest.fixture
async def topics(kafka_server: KafkaChoice) -> AsyncIterator[Topics]:
    """Two fresh topics of two partitions and a dead-letter topic of one; deleted afterwards."""
    fresh = await new_topics(kafka_server.bootstrap_servers)
    yield fresh
    await delete_topics(fresh.bootstrap_servers, [*fresh.names, fresh.dead_letter])


async def new_topics(bootstrap_servers: str, *, topics: int = 2, partitions: int = 2) -> Topics:
    """Create topics under names that no other test uses, for tests with needs of their own."""
    mark = secrets.token_hex(6)
    fresh = Topics(
        bootstrap_servers,
        tuple(f"test.{mark}.{number}" for number in range(topics)),
        f"test.{mark}.dead_letters",
        f"test.{mark}",
    )
    await create_topics(bootstrap_servers, fresh.names, partitions=partitions)
    await create_dead_letter_topic(bootstrap_servers, fresh.dead_letter)
    return fresh
