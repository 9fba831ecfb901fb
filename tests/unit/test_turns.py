"""Turns: what is worked on in one process, by one task at a time."""

import asyncio
from contextlib import AsyncExitStack

from service.store.mongo import Turns


async def test_what_is_free_is_had_at_once() -> None:
    turns = Turns()
    async with turns.take(["a", "b"], 2), turns.take(["b", "c", "d"], 1) as mine:
        assert mine == ["c"]


async def test_what_somebody_has_is_had_when_he_is_done_however_he_ends() -> None:
    turns = Turns()
    had: list[str] = []

    async def work(*things: str) -> None:
        async with turns.take(things, 9) as mine:
            had.extend(mine)

    async with AsyncExitStack() as first:
        await first.enter_async_context(turns.take(["a"], 1))
        waiting = [asyncio.create_task(work("a")) for _ in range(3)]
        await asyncio.sleep(0)
        assert had == []
        waiting.pop().cancel()

    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert had == ["a", "a"]
