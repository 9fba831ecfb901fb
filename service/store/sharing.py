"""Work that one does for all who wait for it (in databases: group commit)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Wish = TypeVar("Wish")


class Sharing(Generic[Wish]):
    """Work is done once for all wishes that have come meanwhile.

    It begins after every wish of its group was made, and one group is worked on at a time. Nobody
    is left with the failure of another: who has not got his wish takes his turn.
    """

    def __init__(self) -> None:
        self._wishes: dict[object, Wish] = {}
        self._turn = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Wishes made and not yet fulfilled."""
        return len(self._wishes)

    async def fulfil(self, wish: Wish, work: Callable[[Sequence[Wish]], Awaitable[None]]) -> None:
        """On return some `work` has ended well that was given this wish among others. Raises what
        this one's own `work` raises."""
        name = object()
        self._wishes[name] = wish
        try:
            async with self._turn:
                if name in self._wishes:
                    group = dict(self._wishes)
                    await work(list(group.values()))
                    self._wishes = {
                        other: one for other, one in self._wishes.items() if other not in group
                    }
        finally:
            self._wishes.pop(name, None)
