"""The API in this process, over a real MongoDB and a real port."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from yarl import URL

from service.api.app import build_following, build_gate, listening
from service.api.following import Following
from service.api.readiness import Readiness
from service.settings import HttpSettings
from service.store.keys import create_key
from service.store.mongo import Mongo
from tests.store.listing import apply

BASE_PATH = "/api/v1"
CURSOR_SECRET = "a secret of the tests"
DEFAULTS: dict[str, Any] = {
    "http_host": "127.0.0.1",
    "http_port": 0,
    "cursor_secret": SecretStr(CURSOR_SECRET),
    "rate_limit": "",
}


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end and decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def next(self) -> str | None:
        """The path and query string of the next page."""
        link = self.headers.get("Link")
        if link is None:
            return None
        assert link.startswith("<")
        assert link.endswith('>; rel="next"')
        return link[1 : -len('>; rel="next"')]


@dataclass
class Api:
    """A running API. Questions are asked with the key of `orga_1` unless told otherwise."""

    port: int
    mongo: Mongo
    readiness: Readiness
    following: Following
    session: aiohttp.ClientSession
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def key(self, organization: str = "orga_1") -> str:
        """A key of this organization."""
        if organization not in self.keys:
            self.keys[organization] = await create_key(self.mongo, organization, "tests")
        return self.keys[organization]

    async def ask(
        self,
        path: str,
        parameters: Sequence[tuple[str, str]] = (),
        *,
        organization: str = "orga_1",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Reply:
        """`path` is decoded and stands behind `/api/v1`."""
        url = URL(self.url) / (BASE_PATH + path).lstrip("/") % parameters
        return await self.ask_raw(url, organization, method=method, headers=headers, **more)

    async def ask_raw(
        self,
        url: URL | str,
        organization: str = "orga_1",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Reply:
        """`url` as it is, or a path with its query string as it is."""
        if isinstance(url, str):
            url = URL(self.url + url, encoded=True)
        sent = {"Authorization": f"Bearer {await self.key(organization)}", **(headers or {})}
        async with self.session.request(method, url, headers=sent, **more) as response:
            return Reply(response.status, response.headers, await response.read())

    async def fetch(self, path: str, method: str = "GET") -> Reply:
        """A file at the root of the port, as anybody may have it: without a key."""
        async with self.session.request(method, self.url + path) as response:
            return Reply(response.status, response.headers, await response.read())

    async def walk(self, path: str, parameters: Sequence[tuple[str, str]] = ()) -> list[Any]:
        """All rows, page after page as the `Link` says."""
        reply = await self.ask(path, parameters)
        rows: list[Any] = []
        while True:
            assert reply.status == 200, reply.body
            assert reply.content["has_more"] is (reply.next is not None)
            rows += reply.content["data"]
            if reply.next is None:
                return rows
            reply = await self.ask_raw(reply.next)

    async def apply(self, records: Iterable[bytes | None]) -> None:
        """Store what a consumer would have stored of these records."""
        await apply(self.mongo, records)


@asynccontextmanager
async def serving(mongo: Mongo, *, feed_hours: float = 24.0, **changed: Any) -> AsyncIterator[Api]:
    """The real application with these settings, behind a free port."""
    settings = HttpSettings(**{**DEFAULTS, **changed})
    readiness = Readiness(mongo)
    following = build_following(mongo, settings, feed_hours)
    gate = build_gate(mongo, settings, readiness, following)
    async with listening(gate, settings) as port, aiohttp.ClientSession() as session:
        yield Api(port, mongo, readiness, following, session)


@pytest.fixture
async def api(mongo: Mongo) -> AsyncIterator[Api]:
    """An API over an empty store, without a rate limit."""
    async with serving(mongo) as running:
        yield running
