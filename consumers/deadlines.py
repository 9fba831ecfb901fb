"""Waits that end."""

import asyncio
from collections.abc import Awaitable, Collection, Coroutine
from typing import Any, TypeVar

CANCEL_AGAIN_SECONDS = 1.0

Answer = TypeVar("Answer")


async def within(seconds: float, awaitable: Awaitable[Answer]) -> Answer | None:
    """What it returns, or None where it takes longer: then it is cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        return None


async def unless(stop: asyncio.Event, coroutine: Coroutine[Any, Any, Answer]) -> Answer | None:
    """What it returns, or None where `stop` is set before it comes: then it is cancelled."""
    answering = asyncio.create_task(coroutine, name="answer")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else None
    finally:
        await cancel([answering, stopping])


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel them, and wait until they have ended.

    Once may not be enough: `wait_for` of Python 3.11, on which both drivers rest, goes on with its
    answer where that comes together with a cancellation.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)
