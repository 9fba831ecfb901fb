"""Batches and records that are small to send and huge to unpack or to parse."""

import random
from collections.abc import Iterator

from aiokafka import AIOKafkaProducer

from tests.factories import activity, event, record

CODECS = ("gzip", "snappy", "lz4", "zstd")
MEBIBYTE = 1024 * 1024
# The longest record that is parsed, with room for the event around it.
_LONG = 4 * MEBIBYTE - 4096


async def send_batch(
    bootstrap_servers: str,
    topic: str,
    values: Iterator[bytes | None] | list[bytes | None],
    *,
    codec: str | None,
    headers: list[tuple[str, bytes | None]] | None = None,
    partition: int = 0,
) -> int:
    """All of them in one batch; answers its first offset."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        compression_type=codec,
        max_batch_size=2**30,
        max_request_size=2**30,
    )
    async with producer:
        batch = producer.create_batch()
        for value in values:
            batch.append(key=b"bomb", value=value, timestamp=None, headers=headers or [])
        batch.close()
        sent = await (await producer.send_batch(batch, topic, partition=partition))
        return int(sent.offset)


def shapes(length: int = _LONG) -> dict[str, bytes]:
    """JSON, or nearly, that is slow to parse: nested and wide, of about so many bytes."""
    deep = b"[" * 60 + b"]" * 60
    return {
        "only opened": b"[" * length,
        "nested lists": b"[" * (length // 2) + b"]" * (length // 2),
        "nested objects": b'{"a":' * (length // 6) + b"1" + b"}" * (length // 6),
        "wide lists": b"[" + b"[]," * (length // 3 - 1) + b"[]]",
        "wide objects": b"[" + b"{}," * (length // 3 - 1) + b"{}]",
        "wide and deep": b"[" + b",".join([deep] * (length // 121)) + b"]",
        "integers": b"[" + b"1," * (length // 2 - 1) + b"1]",
        "keys": b"{" + b",".join(b'"%x":1' % number for number in range(length // 12)) + b"}",
        "digits": b"1" * length,
    }


def in_an_event(body: bytes) -> bytes:
    """The body as an unknown field of a note."""
    whole = record(event(activity("Note", id="acti_bomb")))
    return whole.replace(b'"note":', b'"filler":' + body + b',"note":', 1)


def any_bombs(rng: random.Random, count: int) -> Iterator[tuple[str, list[bytes | None], int]]:
    """So many batches: codec, values, number of headers of each record. Small to send, each."""
    narrow = list(shapes(200_000).values())
    for _ in range(count):
        codec = rng.choice(CODECS)
        match rng.randrange(5):
            case 0:  # one huge value
                yield codec, [bytes(rng.choice((5, 20, 70, 200)) * MEBIBYTE)], 0
            case 1:  # many large ones
                value = bytes(MEBIBYTE)
                yield codec, [value] * rng.choice((3, 40, 90)), 0
            case 2:  # headers without end
                yield codec, [b"{}"], rng.choice((10_000, 1_000_000))
            case 3:
                yield codec, [None] * rng.choice((1000, 20_000)), 0
            case _:
                body = rng.choice(narrow)
                yield codec, [rng.choice((body, in_an_event(body)))] * 3, 0
