"""`python -m tests.ingest.latin_headers SERVERS TOPIC COMPRESSION`: each line of standard input as a
record, with a header whose name is no UTF-8.

aiokafka encodes every name as UTF-8; its pure Python asks the name itself to do it.
"""

import asyncio
import os
import sys

os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"

from aiokafka import AIOKafkaProducer


class LatinName(str):
    """A name that ends up in Latin-1."""

    __slots__ = ()

    def encode(self, _: str = "", errors: str = "strict") -> bytes:
        return super().encode("latin-1", errors)


async def publish(servers: str, topic: str, compression: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, linger_ms=100, compression_type=compression or None
    )
    await producer.start()
    headers = [("trace", b"1"), (LatinName("café"), b"2"), ("empty", None)]
    sent = [await producer.send(topic, value, partition=0, headers=headers) for value in values]
    await asyncio.gather(*sent)
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(
        publish(sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin.buffer.read().splitlines())
    )
