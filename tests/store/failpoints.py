"""Commands that the server fails on purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from service.store.mongo import Mongo


@asynccontextmanager
async def failing(
    mongo: Mongo, *commands: str, times: int | Literal["always"] = "always", **how: Any
) -> AsyncIterator[None]:
    """Let the server fail these commands so many times in turn."""
    point: dict[str, Any] = {"configureFailPoint": "failCommand"}
    mode = "alwaysOn" if times == "always" else {"times": times}
    data = {"failCommands": list(commands), **how}
    await mongo.client.admin.command(point | {"mode": mode, "data": data})
    yield
    await mongo.client.admin.command(point | {"mode": "off"})
