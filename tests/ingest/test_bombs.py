"""What is small to send and huge to unpack or to parse harms nobody (contract 1.5.8)."""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka import codec as codecs
from aiokafka.errors import CorruptRecordException

from consumers.records import parse_record
from consumers.unpacking import TooLarge, unpack
from service.garbage import collect_rarely
from service.settings import MongoSettings
from tests.factories import activity, event, record
from tests.ingest.bombs import CODECS, MEBIBYTE, any_bombs, in_an_event, send_batch, shapes
from tests.ingest.group import Group, environment, spawn

SMALL: dict[str, Any] = {"max_unpacked_bytes": 16 * MEBIBYTE}
ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": codecs.gzip_encode,
    "snappy": codecs.snappy_encode,
    "lz4": codecs.lz4_encode,
    "zstd": codecs.zstd_encode,
}
NUMBERS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def note(id_: str) -> bytes:
    return record(event(activity("Note", id=id_)))


@pytest.mark.parametrize("codec", CODECS)
def test_unpacks_what_aiokafka_packs_up_to_the_bound(codec: str) -> None:
    rng = random.Random(1)
    for size in (1, 1000, 100_000, 3 * MEBIBYTE):
        content = rng.randbytes(size // 2) + bytes(size - size // 2)
        packed = memoryview(ENCODE[codec](content))

        assert unpack(NUMBERS[codec], packed, size) == content
        with pytest.raises(TooLarge):
            unpack(NUMBERS[codec], packed, size - 1)
    with pytest.raises(CorruptRecordException):
        unpack(NUMBERS[codec], memoryview(rng.randbytes(100)), MEBIBYTE)


@pytest.mark.parametrize("codec", CODECS)
async def test_batch_too_large_is_one_dead_letter(group: Group, codec: str) -> None:
    """Between good ones, which are applied."""
    topic, server = group.topics.names[0], group.topics.bootstrap_servers
    async with group.producer() as producer:
        await producer.send_and_wait(topic, note("acti_1"), partition=0)
        bomb: list[bytes | None] = [bytes(MEBIBYTE)] * 20
        first = await send_batch(server, topic, bomb, codec=codec)
        await producer.send_and_wait(topic, note("acti_2"), partition=0)
    group.model.apply(note("acti_1"))
    group.model.apply(note("acti_2"))

    async with group.member(**SMALL):
        await group.until_worked_off()

    assert await group.stored() == group.expected()
    (letter,) = await group.dead_letters()
    headers = dict(letter.headers)
    assert headers["activity.error.code"] == b"batch_too_large"
    assert headers["__connect.errors.offset"] == b"%d" % first
    assert headers["activity.batch.records"] == b"20"
    # A whole batch as the broker gave it: its first offset, its length, what follows.
    assert int.from_bytes(letter.value[:8], "big") == first
    assert int.from_bytes(letter.value[8:12], "big") == len(letter.value) - 12


async def test_headers_without_end_are_too_large(group: Group) -> None:
    """Two bytes each, as they travel; a hundred times that as objects."""
    topic, server = group.topics.names[0], group.topics.bootstrap_servers
    many: list[tuple[str, bytes | None]] = [("", b"")] * 3_000_000
    await send_batch(server, topic, [note("acti_1")], codec="zstd", headers=many)

    async with group.member(**SMALL):
        await group.until_worked_off()

    (letter,) = await group.dead_letters()
    assert dict(letter.headers)["activity.error.code"] == b"batch_too_large"


async def test_replay_passes_batches_over_and_says_so(
    group: Group, mongo_settings: MongoSettings
) -> None:
    server = group.topics.bootstrap_servers
    await send_batch(server, group.topics.names[0], [bytes(17 * MEBIBYTE)], codec="zstd")
    async with group.member(**SMALL):
        await group.until_worked_off()
    settings = environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)

    process = await spawn(settings, "dead-letters", "replay")
    output, errors = await process.communicate()

    assert (process.returncode, output) == (0, b"0 distinct records published\n")
    assert b"1 dead letters are batches too large: passed over" in errors


@asynccontextmanager
async def longest_gap() -> AsyncIterator[list[float]]:
    """How long the event loop was held at most, in seconds, as the one element."""
    gap = [0.0]

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gap[0], last = max(gap[0], now - last), now

    ticking = asyncio.create_task(tick())
    try:
        yield gap
    finally:
        ticking.cancel()


@pytest.mark.parametrize("shape", shapes())
async def test_no_shape_holds_the_loop(group: Group, shape: str) -> None:
    """Compared with what parsing it takes, since the machine may be busy."""
    collect_rarely()
    value = in_an_event(shapes()[shape])
    began = time.perf_counter()
    parse_record(ConsumerRecord("t", 0, 0, 0, 0, None, value, None, 0, 1, ()), 4 * MEBIBYTE)
    parsing = time.perf_counter() - began
    async with group.producer(compression_type="zstd") as producer:
        await producer.send_and_wait(group.topics.names[0], value)

    async with longest_gap() as gap, group.member():
        await group.until_worked_off()

    assert gap[0] < max(0.5, 0.75 * parsing)


async def test_a_process_with_a_gibibyte_survives_bombs(
    group: Group, mongo_settings: MongoSettings
) -> None:
    topic, server = group.topics.names[0], group.topics.bootstrap_servers
    settings = environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)
    rng = random.Random(1)
    good = [note(f"acti_{number}") for number in range(100)]
    await group.publish(good[:50])
    await send_batch(server, topic, [bytes(300 * MEBIBYTE)], codec="zstd")
    await send_batch(server, topic, [bytes(MEBIBYTE)] * 900, codec="zstd")
    for codec, values, headers in any_bombs(rng, 12):
        await send_batch(server, topic, values, codec=codec, headers=[("", b"")] * headers)
    await group.publish(good[50:])
    settings["ACTIVITY_DEAD_LETTER_MAX_RATIO"] = "1"

    process = await spawn(settings, "run")
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (1024 * MEBIBYTE, 1024 * MEBIBYTE))
    try:
        await group.until_worked_off(120)
    finally:
        process.terminate()
        _, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    stored = await group.stored()
    assert {f"acti_{number}" for number in range(100)} <= stored["orga_1"].keys()
