"""Work that one does for all who wait for it (in databases: group commit)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Wish = TypeVar("Wish")


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Wish]):
    wish: Wish
    fault: Exception | None = None


class Sharing(Generic[Wish]):
    """Work is done once for all wishes that have come meanwhile, by one who has such a wish.

    It begins after every wish of its group was made, and one group is worked on at a time. Its
    failure is had by the whole group, for the next ones would wait as long to fail alike. Who is
    cancelled leaves the others their wishes, and one of them works.
    """

    def __init__(self) -> None:
        self._tickets: list[_Ticket[Wish]] = []
        self._turn = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Wishes made and not yet answered."""
        return len(self._tickets)

    async def fulfil(self, wish: Wish, work: Callable[[Sequence[Wish]], Awaitable[None]]) -> None:
        """On return some `work` has ended well that was given this wish among others. Raises what
        that work has raised."""
        ticket = _Ticket(wish)
        self._tickets.append(ticket)
        try:
            async with self._turn:
                if ticket in self._tickets:
                    await self._work_for_all(work)
        finally:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
        if ticket.fault is not None:
            raise ticket.fault

    async def _work_for_all(self, work: Callable[[Sequence[Wish]], Awaitable[None]]) -> None:
        group = list(self._tickets)
        try:
            await work([ticket.wish for ticket in group])
        except Exception as fault:  # noqa: BLE001 it is raised again, by all
            for ticket in group:
                ticket.fault = fault
        self._tickets = [ticket for ticket in self._tickets if ticket not in group]
