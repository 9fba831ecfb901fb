"""The two ends of the road: a producer, and an app that asks over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.demo.journal import Published

WAIT_MAX_SECONDS = 30.0
POLL_SECONDS = 0.002

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class App:
    """An app with an API key. `url` ends in `/api/v1`."""

    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **parameters: str) -> tuple[int, Answer]:
        """The status and the body of one answer; `path` begins after `/api/v1`."""
        async with self.session.get(self.url + path, params=parameters) as answer:
            return answer.status, await answer.json()

    async def find_all(self, **parameters: str) -> list[Answer]:
        """Every activity of a listing, page after page by its `Link` headers."""
        activities: list[Answer] = []
        url = f"{self.url}/activity/"
        while True:
            async with self.session.get(url, params=parameters) as answer:
                answer.raise_for_status()
                activities += (await answer.json())["data"]
                if "next" not in answer.links:
                    return activities
                url, parameters = str(answer.links["next"]["url"]), {}


@asynccontextmanager
async def running_app(url: str, key: str) -> AsyncIterator[App]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield App(session, url)


@asynccontextmanager
async def running_producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, linger_ms=0, compression_type="gzip"
    ) as producer:
        yield producer


async def publish(
    producer: AIOKafkaProducer, topics: Mapping[str, str], records: Iterable[Published]
) -> None:
    """Publish in this order; returns when Kafka has acknowledged all."""
    sent = [
        await producer.send(topics[record.family], record.value, key=record.key.encode())
        for record in records
    ]
    await asyncio.gather(*sent)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside, and why."""

    code: str
    reason: str
    position: str
    value: bytes


async def read_dead_letters(bootstrap_servers: str, topic: str) -> list[DeadLetter]:
    """All that is now in a dead-letter topic of one partition."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        letters: list[DeadLetter] = []
        while len(letters) < end:
            letters.append(to_dead_letter(await consumer.getone()))
        return letters


def to_dead_letter(record: Any) -> DeadLetter:
    """What a record of the dead-letter topic says."""
    headers = {name: value.decode() for name, value in record.headers}
    position = [headers[f"__connect.errors.{part}"] for part in ("topic", "partition", "offset")]
    return DeadLetter(
        code=headers["activity.error.code"],
        reason=headers["__connect.errors.exception.message"],
        position=" / ".join(position),
        value=record.value,
    )


async def count_records(operations_url: str) -> dict[tuple[str, str], int]:
    """How many records a consumer has worked off, by topic and outcome, from its `/metrics`."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{operations_url}/metrics") as answer,
    ):
        text = await answer.text()
    return {
        (sample.labels["topic"], sample.labels["outcome"]): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "activity_records_total"
    }


async def wait_until(holds: Callable[[], Awaitable[bool]]) -> float | None:
    """Ask again and again; return the seconds it took, or None where it took too long."""
    started = time.monotonic()
    while not await holds():
        if time.monotonic() - started > WAIT_MAX_SECONDS:
            return None
        await asyncio.sleep(POLL_SECONDS)
    return time.monotonic() - started
