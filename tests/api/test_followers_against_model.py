"""Followers against the model: whatever is written in whatever order, by whom, and whoever dies.

Writers have a batch at a time, die between any two steps and begin it anew; followers go and come again
at the other of two APIs.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from yarl import URL

from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, serving
from tests.examples import examples
from tests.factories import ORGANIZATIONS, Request, event_logs, requests
from tests.following import Copy, Key, Refused, following, to_key, until
from tests.model import Model
from tests.store import schedules
from tests.store.conversations import encoded, newest_changes
from tests.store.schedules import feed_gates, gates

__all__ = ["feed_gates", "gates"]  # fixtures

FOLLOWERS = 20
PAGING = {"_limit", "_skip", "_cursor"}
NAMES_ROWS = ("_fields", "id,_type")


@dataclass(slots=True)
class Client:
    """One who follows a scope of an organization, at one API or the other."""

    organization: str
    request: Request
    rng: random.Random
    copy: Copy = field(default_factory=Copy)

    async def follow(self, apis: Sequence[Api], end: asyncio.Event) -> None:
        """Go and come again, until the end."""
        await asyncio.sleep(self.rng.uniform(0, 0.2))
        while not end.is_set():
            try:
                async with self.connected(self.rng.choice(apis)):
                    seconds = self.rng.choice([0, 0.02, 0.1, 60])
                    with_end = asyncio.wait_for(end.wait(), seconds)
                    await asyncio.gather(with_end, return_exceptions=True)
            except Refused as refused:
                if refused.status != 503:
                    raise
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def connected(self, api: Api) -> AsyncIterator[Any]:
        url = URL(api.url + BASE_PATH + self.request.path) % self.request.parameters
        key = await api.key(self.organization)
        async with following(api.session, url, key, self.copy, self.request.headers) as connection:
            yield connection

    def expected(self, model: Model) -> dict[Key, Any]:
        request = self.request
        status, body = model.get(
            request.path, request.parameters, self.organization, request.headers
        )
        assert status == 200
        return {to_key(row): row for row in body["data"]}

    async def check(self, apis: Sequence[Api], model: Model) -> None:
        """What is pushed is all, and so is what is told to whoever comes again."""
        expected = self.expected(model)
        if self.rng.random() < 0.5:
            async with self.connected(self.rng.choice(apis)) as connection:
                await connection.until_live()
        context = (self.organization, self.request, self.copy.events)
        assert self.copy.rows == expected, context


@dataclass(slots=True)
class Writer:
    """A consumer: batches of its records, one after the other; now and then it dies."""

    mongo: Mongo
    records: list[bytes | None]
    rng: random.Random

    async def work(self) -> None:
        remaining = list(self.records)
        while remaining:
            size = self.rng.randint(1, 6)
            batch, remaining = remaining[:size], remaining[size:]
            writer = schedules.Writer(self.mongo, encoded(newest_changes(batch)))
            if self.rng.random() < 0.3:
                for _ in range(self.rng.randrange(1, len(schedules.STEPS))):
                    await writer.step()
                await writer.crash()
                remaining = batch + remaining if self.rng.random() < 0.5 else remaining + batch
            else:
                await writer.finish()
            await asyncio.sleep(self.rng.choice([0, 0, 0.03]))


def to_scope(request: Request) -> Request:
    """The same rows, by their whole list."""
    parameters = [(name, text) for name, text in request.parameters if name not in PAGING]
    if any(name.startswith("_fields") and text for name, text in parameters):
        parameters.append(NAMES_ROWS)
    return replace(request, parameters=parameters)


def is_listing(request: Request) -> bool:
    return Model().get(request.path, request.parameters, "orga_1", request.headers)[0] == 200


SCOPES = requests().map(to_scope).filter(is_listing)


@pytest.mark.usefixtures("feed_gates")
@settings(
    max_examples=examples(3),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # what a race makes does not shrink
)
@given(
    log=event_logs(min_size=25, max_size=60, with_bad=False),
    scopes=st.lists(SCOPES, min_size=FOLLOWERS, max_size=FOLLOWERS),
    seed=st.integers(0, 10**6),
)
async def test_followers_hold_what_the_listing_holds(
    mongo: Mongo, log: list[bytes | None], scopes: list[Request], seed: int
) -> None:
    rng = random.Random(seed)
    await mongo.activities.delete_many({})
    model = Model()
    for value in log:
        model.apply(value)
    clients = [
        Client(rng.choice(ORGANIZATIONS), scope, random.Random(rng.random())) for scope in scopes
    ]
    arriving = rng.sample(log, len(log)) + rng.sample(log, len(log) // 4)
    writers = [Writer(mongo, arriving[start::3], random.Random(rng.random())) for start in range(3)]

    async with serving(mongo) as one, serving(mongo) as other:
        apis = [one, other]
        end = asyncio.Event()
        follows = [asyncio.create_task(client.follow(apis, end)) for client in clients]
        await asyncio.gather(*(writer.work() for writer in writers))
        await until_right(clients, model)
        end.set()
        await asyncio.gather(*follows)
        for client in clients:
            await client.check(apis, model)
        await until(lambda: not any(api.following.is_reading for api in apis))


async def until_right(clients: Sequence[Client], model: Model) -> None:
    """Until what was pushed makes every copy right, or it is too late for that."""
    expected = [(client, client.expected(model)) for client in clients]
    with suppress(TimeoutError):
        await until(lambda: all(client.copy.rows == rows for client, rows in expected))
