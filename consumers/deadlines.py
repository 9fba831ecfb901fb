"""Waits that end."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def within(seconds: float, awaitable: Awaitable[Answer]) -> Answer | None:
    """The answer, or None where it takes longer: then it is cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        return None


async def unless(stop: asyncio.Event, coroutine: Coroutine[Any, Any, Answer]) -> Answer | None:
    """The answer, or None where `stop` is set before it comes: then it is cancelled."""
    answering = asyncio.create_task(coroutine, name="answer")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else None
    finally:
        answering.cancel()
        stopping.cancel()
        await asyncio.wait({answering, stopping})
