"""The whole road as its users have it: records into Kafka, both processes running, answers by HTTP."""

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from yarl import URL

from deploy.local.commands import ApiProcess, ConsumerProcess
from deploy.local.kafka import administration, delete_topics
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.keys import create_key
from service.store.mongo import Mongo, connect
from tests.conftest import Topics, new_topics
from tests.factories import Request
from tests.model import Model, Refusal

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.01


@dataclass
class Road:
    """A consumer and an API on topics and a database of their own."""

    topics: Topics
    mongo: Mongo
    consumer: ConsumerProcess
    api: ApiProcess
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient
    session: aiohttp.ClientSession
    published: int = 0
    keys: dict[str, str] = field(default_factory=dict)

    async def publish(self, values: Sequence[bytes | None], rng: random.Random) -> None:
        """To any topic and partition, as if unkeyed; returns when Kafka has them all."""
        self.published += len(values)
        sent = [
            await self.producer.send(
                rng.choice(self.topics.names), value, key=b"lead", partition=rng.randrange(2)
            )
            for value in values
        ]
        await asyncio.gather(*sent)

    async def work_off(self) -> None:
        """Wait until the group's committed positions are at the end of every partition."""
        ends = await self._ends()

        async def is_done() -> bool:
            return await self.committed() == ends

        await until(is_done)

    async def committed(self) -> dict[TopicPartition, int]:
        """The group's positions, of the partitions that have any."""
        async with administration(self.topics.bootstrap_servers) as admin:
            offsets = await admin.list_consumer_group_offsets(self.topics.group_id)
        return {partition: one.offset for partition, one in offsets.items() if one.offset > 0}

    async def not_committed(self) -> int:
        """How many records the group has yet to commit."""
        return sum((await self._ends()).values()) - sum((await self.committed()).values())

    async def _ends(self) -> dict[TopicPartition, int]:
        partitions = [
            TopicPartition(name, number) for name in self.topics.names for number in (0, 1)
        ]
        async with AIOKafkaConsumer(bootstrap_servers=self.topics.bootstrap_servers) as client:
            ends = await client.end_offsets(partitions)
        return {partition: end for partition, end in ends.items() if end > 0}

    async def dead_letters(self) -> list[tuple[bytes, str]]:
        """(value, code) of all that was set aside."""
        partition = TopicPartition(self.topics.dead_letter, 0)
        async with AIOKafkaConsumer(bootstrap_servers=self.topics.bootstrap_servers) as client:
            client.assign([partition])
            await client.seek_to_beginning(partition)
            end = (await client.end_offsets([partition]))[partition]
            found: list[tuple[bytes, str]] = []
            while len(found) < end:
                letter = await client.getone()
                code = dict(letter.headers)["activity.error.code"].decode()
                found.append((letter.value or b"", code))
        return found

    async def ask(self, organization: str, request: Request) -> tuple[int, Any, str | None]:
        """Status, body and the `Link` to the next page."""
        path = f"{self.api.url}{request.path}".replace(" ", "%20")
        url = URL(path, encoded=True) % request.parameters
        return await self._get(url, organization, request.headers)

    async def walk(self, organization: str, request: Request) -> list[Any]:
        """Every row of a listing, page by page as the `Link` says."""
        status, body, link = await self.ask(organization, request)
        rows: list[Any] = []
        while True:
            assert status == 200, body
            assert body["has_more"] is (link is not None)
            rows += body["data"]
            if link is None:
                return rows
            url = URL(self.api.url).join(URL(link, encoded=True))
            status, body, link = await self._get(url, organization, request.headers)

    async def _get(
        self, url: URL, organization: str, headers: dict[str, str]
    ) -> tuple[int, Any, str | None]:
        if organization not in self.keys:
            self.keys[organization] = await create_key(self.mongo, organization, "tests")
        sent = {"Authorization": f"Bearer {self.keys[organization]}", **headers}
        async with self.session.get(url, headers=sent) as answer:
            link = answer.headers.get("Link")
            body = json.loads(await answer.read())
            return answer.status, body, link and link[1 : link.index(">")]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again; what is asked for happens in another process, so no event tells."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await holds():  # noqa: ASYNC110 see above
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def open_road(
    bootstrap_servers: str, mongo_settings: MongoSettings, folder: Path
) -> AsyncIterator[Road]:
    """Start both processes; end them and leave nothing behind."""
    topics = await new_topics(bootstrap_servers)
    environment = {
        **topics.environment(),
        "ACTIVITY_MONGO_URL": mongo_settings.url.get_secret_value(),
        "ACTIVITY_MONGO_DATABASE": mongo_settings.database,
        "ACTIVITY_CURSOR_SECRET": secrets.token_hex(32),
        "ACTIVITY_RATE_LIMIT": "",
        # A static member is back at once after a kill, a dynamic one when its session has ended.
        "ACTIVITY_KAFKA_GROUP_INSTANCE_ID": "consumer-0",
        "ACTIVITY_COMMIT_INTERVAL_SECONDS": "0.05",
        "ACTIVITY_BATCH_MAX_RECORDS": "20",
    }
    consumer = ConsumerProcess(folder / "consumer", environment)
    api = ApiProcess(folder / "api", environment)
    async with (
        connect(mongo_settings) as mongo,
        AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=2) as producer,
        administration(bootstrap_servers) as admin,
        aiohttp.ClientSession() as session,
    ):
        await ensure_indexes(mongo, RetentionSettings())
        try:
            await asyncio.gather(consumer.start(), api.start())
            yield Road(topics, mongo, consumer, api, producer, admin, session)
        finally:
            consumer.kill()
            api.kill()
            await mongo.client.drop_database(mongo_settings.database)
            await delete_topics(bootstrap_servers, [*topics.names, topics.dead_letter])


async def assert_same_answer(road: Road, model: Model, organization: str, request: Request) -> None:
    """Compared as texts, for in Python 1 == 1.0 == True."""
    status, body, link = await road.ask(organization, request)
    expected_status, expected = model.get(
        request.path, request.parameters, organization, request.headers
    )

    assert status == expected_status, (request, body)
    if isinstance(expected, Refusal):
        assert expected.is_told_by(body), (request, body, expected)
    elif status == 404:
        assert set(body) == {"error", "errors", "field-errors"}
    else:
        assert _text(body) == _text(expected), request
        assert (link is not None) is (bool(body.get("has_more")) and bool(body["data"]))


async def assert_same_listings(road: Road, model: Model, organization: str) -> None:
    """Every activity and thread there is, whole, by cursor; no more and no less."""
    everything = [("_fields", "_all"), ("_limit", "70")]
    for path in ("/activity/", "/activity/emailthread/"):
        rows = await road.walk(organization, Request(path, everything))
        expected = model.walk(path, everything, organization)
        assert _text(rows) == _text(expected), _difference(rows, expected)


def _difference(rows: list[Any], expected: list[Any]) -> str:
    """What to look for first where two listings differ."""
    found, wanted = Counter(row["id"] for row in rows), Counter(row["id"] for row in expected)
    pairs = zip(rows, expected, strict=False)
    first = next((pair for pair in pairs if _text(pair[0]) != _text(pair[1])), None)
    return f"lost {wanted - found}, doubled or alien {found - wanted}, first difference {first}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1)
