"""Group commit: one of those who wait does the work for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Item]):
    item: Item
    answer: Any = None
    fault: Exception | None = None


class GroupCommit(Generic[Item]):
    """Does the work once for all items that have come meanwhile.

    The caller whose turn it is works for the whole group of items that wait then. The work begins
    after every item of its group has come, and one group is worked on at a time. When the work
    fails, it has failed for the whole group: each one by itself would wait as long and fail alike.
    When a caller is cancelled, the items of the others stay, and one of the others does the work.
    """

    def __init__(self) -> None:
        self._tickets: list[_Ticket[Item]] = []
        self._turn = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Items that have come and whose work has not ended."""
        return len(self._tickets)

    async def run(self, item: Item, work: Callable[[Sequence[Item]], Awaitable[Answer]]) -> Answer:
        """On return some `work` that was given this item, among others, has ended well. Answers what
        that work did, and raises what it has raised."""
        ticket = _Ticket(item)
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
        answer: Answer = ticket.answer
        return answer

    async def _work_for_all(self, work: Callable[[Sequence[Item]], Awaitable[Any]]) -> None:
        group = list(self._tickets)
        answer, fault = None, None
        try:
            answer = await work([ticket.item for ticket in group])
        except Exception as error:  # noqa: BLE001 it is raised again, by all
            fault = error
        for ticket in group:
            ticket.answer, ticket.fault = answer, fault
        self._tickets = [ticket for ticket in self._tickets if ticket not in group]
