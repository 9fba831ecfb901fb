"""A client that follows a listing, written from contract 3.7 alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

DEADLINE_SECONDS = 20.0

Key = tuple[bool, str]
"""Of a row: whether it is a thread, and its id."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, its data parsed."""

    name: str
    id: str
    data: Any


class Refused(Exception):
    """Answered with something else than events."""

    def __init__(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
        super().__init__(f"{status}: {content}")
        self.status, self.content, self.headers = status, content, headers


@dataclass(slots=True)
class Copy:
    """What a client holds: the page with everything laid over it that came later."""

    rows: dict[Key, Any] = field(default_factory=dict)
    last_id: str = ""
    is_live: bool = False
    events: list[Event] = field(default_factory=list)

    def take(self, event: Event) -> None:
        self.last_id = event.id
        self.events.append(event)
        if event.name == "page":
            self.rows = {to_key(row): row for row in event.data["data"]}
        elif event.name == "set":
            self.rows[to_key(event.data)] = event.data
        elif event.name == "removed":
            self.rows.pop(to_key(event.data), None)
        elif event.name == "live":
            self.is_live = True
        else:
            raise AssertionError(f"an event of no known name: {event}")


def to_key(row: Mapping[str, Any]) -> Key:
    return row["_type"] == "EmailThread", row["id"]


async def read_events(content: aiohttp.StreamReader) -> AsyncIterator[Event | str]:
    """Events as the WHATWG text says, and the id alone where nothing else is said."""
    fields: dict[str, str] = {}
    last_id = ""
    async for line in content:
        text = line.decode().removesuffix("\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        last_id = fields.get("id", last_id)
        if "data" in fields:
            yield Event(fields["event"], last_id, json.loads(fields["data"]))
        elif "id" in fields:
            yield last_id
        fields = {}


@dataclass(slots=True)
class Connection:
    """One connection of a client, read into its copy while it lasts."""

    copy: Copy
    response: aiohttp.ClientResponse
    task: asyncio.Task[None]

    async def until(self, condition: Callable[[Copy], bool]) -> None:
        """Fails where the stream ends before that."""
        await until(lambda: self.task.done() or condition(self.copy))
        if not condition(self.copy):
            self.task.result()
            raise AssertionError("the stream has ended")

    async def until_ended(self) -> None:
        await until(self.task.done)

    async def until_live(self) -> None:
        await self.until(lambda copy: copy.is_live)


@asynccontextmanager
async def following(
    session: aiohttp.ClientSession,
    url: Any,
    key: str,
    copy: Copy,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Connection]:
    """Follow from where the copy is, until the block ends. Raises `Refused`."""
    sent = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream", **(headers or {})}
    if copy.last_id:
        sent["Last-Event-ID"] = copy.last_id
    copy.is_live = False
    async with session.get(
        url, headers=sent, timeout=aiohttp.ClientTimeout(total=None)
    ) as response:
        if response.content_type != "text/event-stream":
            raise Refused(response.status, await response.json(), response.headers)

        async def read() -> None:
            async for event in read_events(response.content):
                if isinstance(event, str):
                    copy.last_id = event
                else:
                    copy.take(event)

        task = asyncio.create_task(read())
        try:
            yield Connection(copy, response, task)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    """Raises `TimeoutError` where it does not hold in time."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 of many conditions nobody could set an event
            await asyncio.sleep(0.005)


def names(events: Sequence[Event]) -> list[str]:
    return [event.name for event in events]
