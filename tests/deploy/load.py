"""A steady load from both sides: events into Kafka, requests to the API."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiokafka import AIOKafkaProducer

from tests import factories

REQUESTERS = 4
PAUSE_SECONDS = 0.01


@dataclass(slots=True)
class Load:
    """What became of the requests (ok, or what went wrong), and which activities were published."""

    url: str
    key: str
    outcomes: Counter[str] = field(default_factory=Counter)
    published: list[str] = field(default_factory=list)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def request(self, stop: asyncio.Event) -> None:
        """Ask over a connection of one's own, again and again."""
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while not stop.is_set():
                await asyncio.sleep(PAUSE_SECONDS)
                try:
                    async with session.get(f"{self.url}/activity/?_limit=10") as answer:
                        text = await answer.text()
                        self.outcomes["ok" if answer.ok else f"{answer.status} {text}"] += 1
                except aiohttp.ClientError as error:
                    self.outcomes[repr(error)] += 1

    async def publish(
        self, producer: AIOKafkaProducer, topics: Sequence[str], stop: asyncio.Event
    ) -> None:
        """Publish new activities, each acknowledged before the next."""
        while not stop.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            number = len(self.published)
            lead = f"lead_{number % 7}"
            activity = factories.activity(id=f"acti_{number}", lead_id=lead)
            event = factories.event(activity, id=f"ev_{number}")
            topic = topics[number % len(topics)]
            await producer.send_and_wait(topic, factories.record(event), key=lead.encode())
            self.published.append(f"acti_{number}")

    async def find_all(self, *, deadline_seconds: float) -> Counter[str]:
        """What the API lists, as soon as that is no fewer than were published."""
        async with asyncio.timeout(deadline_seconds):
            # Another process stores them, so no event tells.
            while len(seen := await self._list_all()) < len(self.published):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE_SECONDS)
        return seen

    async def _list_all(self) -> Counter[str]:
        """Every activity that the API lists, page by page, with how often it does."""
        seen: Counter[str] = Counter()
        path: str | None = f"{self.url}/activity/?_fields=id"
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while path:
                async with session.get(path) as answer:
                    page = await answer.json()
                    link = answer.links.get("next")
                seen.update(activity["id"] for activity in page["data"])
                path = str(link["url"]) if link else None
        return seen


@asynccontextmanager
async def under_load(
    load: Load, bootstrap_servers: str, topics: Sequence[str]
) -> AsyncIterator[None]:
    """Requests and events, for as long as the context lasts."""
    stop = asyncio.Event()
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(REQUESTERS):
            tasks.create_task(load.request(stop), name="requests")
        tasks.create_task(load.publish(producer, topics, stop), name="events")
        try:
            yield
        finally:
            stop.set()
