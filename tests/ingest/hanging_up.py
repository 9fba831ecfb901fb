"""A consumer whose broker hangs up at the worst moment: right before it is asked for metadata.

`python -m tests.ingest.hanging_up`: `activity-consumers run`, whose connections are reset at every
third such question. The event loop knows it already, the client takes them for open ones for one
turn of the loop more. Each time it says so on standard output. The product knows nothing of it.
"""

import asyncio
from itertools import count
from typing import Any

from aiokafka.client import AIOKafkaClient

from consumers.__main__ import main

EVERY = 3


def hang_up_now_and_then() -> None:
    """Reset the connections before every third question for metadata."""
    original = AIOKafkaClient._metadata_update
    questions = count(1)

    async def metadata_update(self: Any, *arguments: Any) -> Any:
        if next(questions) % EVERY == 0:
            for connection in self._conns.values():
                connection._protocol.connection_lost(ConnectionResetError())
                connection._writer.transport.abort()
            print("reset", flush=True)
            await asyncio.sleep(0)
        return await original(self, *arguments)

    AIOKafkaClient._metadata_update = metadata_update


if __name__ == "__main__":
    hang_up_now_and_then()
    main(["run"])
