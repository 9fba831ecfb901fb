"""The limit loops: only the part that nobody can leave out."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, UpdateOne

from service.activities.types import TYPES
from service.garbage import collect_rarely
from tests.bench.corpus import BIG_LEAD, EVERY, RARE_TYPE, READER, START

# As the consumer has them.
BATCH_RECORDS = 2000
WRITES_IN_FLIGHT = 4
COMMIT_SECONDS = 1.0

BY_LEAD_CREATED = ["organization_id", "lead_id", "_type", "date_created", "id"]
BY_CREATED = ["organization_id", "_type", "date_created", "id"]


def batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), BATCH_RECORDS):
        yield items[start : start + BATCH_RECORDS]


async def in_flight(writes: Iterable[Callable[[], Awaitable[Any]]]) -> float:
    """Run the writes, a few at a time, and answer the seconds they took."""
    places = asyncio.Semaphore(WRITES_IN_FLIGHT)

    async def one(write: Callable[[], Awaitable[Any]]) -> None:
        async with places:
            await write()

    started = time.perf_counter()
    await asyncio.gather(*(one(write) for write in writes))
    return time.perf_counter() - started


async def insert(collection: Any, documents: list[dict[str, Any]]) -> float:
    """Documents a second by `insert_many`, from memory."""
    seconds = await in_flight(
        partial(collection.insert_many, batch, ordered=False) for batch in batches(documents)
    )
    return len(documents) / seconds


async def replace(collection: Any, documents: list[dict[str, Any]]) -> float:
    """Documents a second by guarded replacement of what is there, from memory."""

    def operation(document: dict[str, Any]) -> UpdateOne:
        return UpdateOne(
            {
                "_id": document["_id"],
                "organization_id": document["organization_id"],
                "_meta.revision": {"$lt": document["_meta"]["revision"]},
            },
            [{"$replaceWith": {"$literal": document}}],
            hint="_id_",
        )

    async def write(batch: list[dict[str, Any]]) -> None:
        operations = [operation(document) for document in batch]
        await collection.bulk_write(operations, ordered=False)

    seconds = await in_flight(partial(write, batch) for batch in batches(documents))
    return len(documents) / seconds


async def consume(collection: Any, servers: str, topic: str, group: str, count: int) -> float:
    """Records a second from Kafka into MongoDB without a check.

    Counted from the first durable batch to the last, as the consumer process is.
    """
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    places = asyncio.Semaphore(WRITES_IN_FLIGHT)
    durable: list[tuple[float, int]] = []

    async def write(records: list[Any]) -> None:
        try:
            await collection.insert_many([_document(record.value) for record in records], False)
        finally:
            places.release()
        durable.append((time.perf_counter(), len(records)))

    await consumer.start()
    fetched, committed, tasks = 0, time.perf_counter(), []
    positions: dict[TopicPartition, int] = {}
    while fetched < count:
        fetch = await consumer.getmany(timeout_ms=100, max_records=BATCH_RECORDS)
        for partition, records in fetch.items():
            positions[partition] = records[-1].offset + 1
        if batch := [record for records in fetch.values() for record in records]:
            fetched += len(batch)
            await places.acquire()
            tasks.append(asyncio.create_task(write(batch)))
        if positions and time.perf_counter() - committed > COMMIT_SECONDS:
            await consumer.commit(positions)
            committed = time.perf_counter()
    await asyncio.gather(*tasks)
    await consumer.commit(positions)
    await consumer.stop()
    (first, head), last = durable[0], durable[-1][0]
    return (count - head) / (last - first)


def _document(value: bytes) -> dict[str, Any]:
    event = orjson.loads(value)
    document: dict[str, Any] = event["data"]
    document["_id"] = f"{event['organization_id']}!{event['object_id']}"
    return document


# --- reading ------------------------------------------------------------------------------------
def shapes(first: datetime, last: datetime, types: list[str]) -> dict[str, dict[str, Any]]:
    """What each read line asks of MongoDB, written out by hand: name to the arguments of `find`."""
    middle = first + (last - first) / 2
    everything = {"organization_id": READER, "_type": {"$in": types}}
    big = {"organization_id": READER, "lead_id": BIG_LEAD, "_type": {"$in": types}}
    threads = [name for name in types if name != "Email"] + ["EmailThread"]
    window = {"$gte": middle, "$lte": middle + (last - first) / 5}
    return {
        "org-100": _find(everything, BY_CREATED, 100),
        "org-20": _find(everything, BY_CREATED, 20),
        "rare": _find(big | {"_type": {"$in": [RARE_TYPE]}}, BY_LEAD_CREATED, 100),
        "threads": _find(big | {"_type": {"$in": threads}}, BY_LEAD_CREATED, 100),
        "window": _find(big | {"date_created": window}, BY_LEAD_CREATED, 100),
    }


def lead_shape(lead_id: str, types: list[str]) -> dict[str, Any]:
    conditions = {"organization_id": READER, "lead_id": lead_id, "_type": {"$in": types}}
    return _find(conditions, BY_LEAD_CREATED, 100)


def _find(conditions: dict[str, Any], keys: list[str], limit: int) -> dict[str, Any]:
    descending = ("date_created", "activity_at", "id")
    return {
        "filter": conditions,
        "projection": {"_id": 0, "_meta": 0},
        "sort": [("date_created", -1), ("id", -1)],
        "hint": [(key, -1 if key in descending else 1) for key in keys],
        "limit": limit + 1,
    }


def bare_handler(
    collection: Any, first: datetime, last: datetime, types: list[str]
) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """One find, orjson, an answer: no router, no key, no checks."""
    named = shapes(first, last, types)

    async def answer(request: web.BaseRequest) -> web.Response:
        name = request.path.removeprefix("/")
        find = named.get(name) or lead_shape(name, types)
        rows = await collection.find(**find).to_list()
        limit = find["limit"] - 1
        body = orjson.dumps(
            {"has_more": len(rows) > limit, "data": rows[:limit]}, option=orjson.OPT_NAIVE_UTC
        )
        return web.Response(body=body, content_type="application/json")

    return answer


async def serve(url: str, database: str, driver: str, count: str) -> None:
    """The bare handler as a process of its own; its start line names the port."""
    client: Any = {"motor": AsyncIOMotorClient, "pymongo": AsyncMongoClient}[driver](url)
    types = [activity_type.name for activity_type in TYPES if activity_type.name != "EmailThread"]
    first = START.replace(tzinfo=None)
    last = first + int(count) * EVERY
    handler = bare_handler(client[database]["activities"], first, last, types)
    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    line = {"message": "started", "http_port": runner.addresses[0][1]}
    sys.stderr.write(orjson.dumps(line).decode() + "\n")
    sys.stderr.flush()
    collect_rarely()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
