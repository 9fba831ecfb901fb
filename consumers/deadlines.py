"""Waits that end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Answer = TypeVar("Answer")


async def within(seconds: float, awaitable: Awaitable[Answer]) -> Answer | None:
    """The answer, or None where it takes longer: then it is cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        return None
