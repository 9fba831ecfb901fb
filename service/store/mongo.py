"""The connection to MongoDB, and the seam between its two drivers.

PyMongo's asyncio API and Motor are the same calls but for a few; those few are here, so that no
other module of the store knows which driver it runs on.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from service.settings import MongoSettings


@dataclass(frozen=True, slots=True)
class Mongo:
    """One process's connection, with the two collections of contract 4."""

    client: Any
    activities: Any
    api_keys: Any


@asynccontextmanager
async def connect(settings: MongoSettings) -> AsyncIterator[Mongo]:
    """Connect and close again. Does not wait for a server: `ping` tells whether one answers."""
    raise NotImplementedError
    yield


async def ping(mongo: Mongo) -> None:
    """Raises `StoreUnavailable` where no primary answers in time."""
    raise NotImplementedError
