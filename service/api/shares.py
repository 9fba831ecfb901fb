"""A bounded number of places, of which nobody holds more than a share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Share:
    places: asyncio.Semaphore
    users: int = field(default=0)


class Shares:
    """`async with shares.of(name)`: a place among `total`. One name holds, or waits in the common
    queue for, at most half of them: its crowd waits for itself."""

    def __init__(self, total: int) -> None:
        self._each = max(1, total // 2)
        self._places = asyncio.Semaphore(total)
        self._shares: dict[str, _Share] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = _Share(asyncio.Semaphore(self._each))
        share.users += 1
        try:
            async with share.places, self._places:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[name]
