"""Kafka and MongoDB, for as long as somebody needs them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.folders import run_folder
from deploy.local.kafka import KafkaServer
from deploy.local.mongodb import MongoServer
from deploy.local.processes import Server

MONGO_VARIABLE = "ACTIVITY_MONGO_URL"
KAFKA_VARIABLE = "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS"


@dataclass(frozen=True, slots=True)
class ExternalMongo:
    """A MongoDB that somebody else runs, named by `ACTIVITY_MONGO_URL`."""

    url: str


@dataclass(frozen=True, slots=True)
class ExternalKafka:
    """A Kafka that somebody else runs, named by `ACTIVITY_KAFKA_BOOTSTRAP_SERVERS`."""

    bootstrap_servers: str


Mongo = MongoServer | ExternalMongo
Kafka = KafkaServer | ExternalKafka


@dataclass(frozen=True, slots=True)
class Stack:
    mongo: Mongo
    kafka: Kafka

    def environment(self) -> dict[str, str]:
        """The settings by which the service's commands find the two."""
        return {MONGO_VARIABLE: self.mongo.url, KAFKA_VARIABLE: self.kafka.bootstrap_servers}


def choose_mongo(folder: Path, *, cache_gigabytes: float | None = 1) -> Mongo:
    """The MongoDB of the environment, else one of our own, not started yet. Without a size of its
    cache it takes half of the memory, as MongoDB does by itself."""
    url = os.environ.get(MONGO_VARIABLE)
    if url:
        return ExternalMongo(url)
    return MongoServer(folder / "mongodb", cache_gigabytes=cache_gigabytes)


def choose_kafka(folder: Path) -> Kafka:
    """The Kafka of the environment, else one of our own, not started yet."""
    servers = os.environ.get(KAFKA_VARIABLE)
    return ExternalKafka(servers) if servers else KafkaServer(folder / "kafka")


@asynccontextmanager
async def running(*choices: Server | ExternalMongo | ExternalKafka) -> AsyncIterator[None]:
    """Start what is ours, side by side; at the end kill it, for its data is of no further use.

    Raises `StartError` where one does not start.
    """
    servers = [choice for choice in choices if isinstance(choice, Server)]
    try:
        starts = (server.start() for server in servers)
        for fault in await asyncio.gather(*starts, return_exceptions=True):
            if fault is not None:
                raise fault
        yield
    finally:
        for server in servers:
            server.kill()


@asynccontextmanager
async def running_stack(*, cache_gigabytes: float | None = 1) -> AsyncIterator[Stack]:
    """Both servers. Raises `StartError` where one does not start."""
    with run_folder() as folder:
        mongo = choose_mongo(folder, cache_gigabytes=cache_gigabytes)
        stack = Stack(mongo, choose_kafka(folder))
        async with running(stack.mongo, stack.kafka):
            yield stack
