"""Reading: the API process against a bare handler, on one store, by one client."""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pymongo import AsyncMongoClient

from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import connect
from tests.bench.client import Target, connected
from tests.bench.corpus import (
    BIG_LEAD,
    EVERY,
    RARE_TYPE,
    READER,
    START,
    documents,
    ordinary_lead,
)
from tests.bench.measure import Line, Report, alternate, quantile
from tests.bench.processes import Process, running, until_ready

LISTING = "/api/v1/activity/"
CLIENTS = 2
DEPTH_ROWS = 100_000
LOAD_BATCH = 2_000
# A round of reads is done in so many shorter ones: what is compared is nearer in time then than the
# machine's speed takes to change.
SLICES = 4


@dataclass(frozen=True, slots=True)
class Read:
    """One read line: what to ask of us and of the bare handler, and how near we must come."""

    what: str
    ours: list[str]
    limit: list[str]
    at_least: float


def read_lines(count: int) -> list[Read]:
    middle = START + count * EVERY / 2
    window = {
        "date_created__gte": middle.isoformat(),
        "date_created__lte": (middle + count * EVERY / 5).isoformat(),
    }
    leads = [ordinary_lead(number) for number in range(min(200, count // 100))]
    big = {"lead_id": BIG_LEAD}
    return [
        Read("one ordinary lead", [_path(lead_id=lead) for lead in leads], leads, 0.80),
        Read("organization-wide newest 100", [_path()], ["org-100"], 0.90),
        Read("organization-wide newest 20", [_path(_limit=20)], ["org-20"], 0.85),
        Read("rare type on the big lead", [_path(_type=RARE_TYPE, **big)], ["rare"], 0.80),
        Read("threads on the big lead", [_path(thread_emails="only", **big)], ["threads"], 0.80),
        Read("a window in the big lead's middle", [_path(**window, **big)], ["window"], 0.80),
    ]


def _path(**parameters: object) -> str:
    return f"{LISTING}?{urlencode(parameters)}"


@dataclass(frozen=True, slots=True)
class Store:
    """A database of so many activities, and a key to it."""

    name: str
    count: int
    key: str


@asynccontextmanager
async def stored(url: str, count: int) -> AsyncIterator[Store]:
    """A store of this size, until it is dropped."""
    name = f"bench-store-{count}"
    try:
        await load(url, name, count)
        yield Store(name, count, await create_key(url, name))
    finally:
        await drop(url, name)


async def load(url: str, database: str, count: int) -> None:
    """Fill a database with the store of `count` activities, indexes included, and have it written
    out: who reads next does not share the machine with what was left to write."""
    settings = MongoSettings(url=url, database=database)
    async with connect(settings) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        source = documents(seed=7, count=count)
        places = asyncio.Semaphore(3)

        async def insert(batch: list[dict[str, Any]]) -> None:
            try:
                await mongo.activities.insert_many(batch, ordered=False)
            finally:
                places.release()

        async with asyncio.TaskGroup() as tasks:
            while batch := list(itertools.islice(source, LOAD_BATCH)):
                await places.acquire()
                tasks.create_task(insert(batch))
        await mongo.client.admin.command("fsync")


async def request_seconds(
    target: Target, paths: list[str], times: int, *, clients: int = CLIENTS
) -> list[float]:
    """Seconds of each of `times` requests, over a few connections that stay open."""
    turn = itertools.cycle(paths)
    seconds: list[float] = []

    async def client() -> None:
        async with connected(target) as connection:
            for _ in range(times // clients):
                started = time.perf_counter()
                status, _ = await connection.ask(next(turn))
                seconds.append(time.perf_counter() - started)
                if status != 200:
                    raise RuntimeError(f"{status} from port {target.port}")

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds


async def rate(target: Target, paths: list[str], times: int) -> float:
    """Requests a second."""
    started = time.perf_counter()
    await request_seconds(target, paths, times)
    return times / (time.perf_counter() - started)


# --- the lines ----------------------------------------------------------------------------------
@asynccontextmanager
async def servers(
    url: str, store: Store, driver: str, logs: Path
) -> AsyncIterator[tuple[Process, Target, Target]]:
    """The API and the bare handler on one store."""
    environment = api_environment(url, store.name) | {"ACTIVITY_MONGO_DRIVER": driver}
    limit_command = ("tests.bench.limits", url, store.name, driver, str(store.count))
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            running(
                "service",
                "serve",
                environment=environment,
                log=logs / f"api-{driver}-{store.count}.log",
            )
        )
        await until_ready(api)
        bare = await stack.enter_async_context(
            running(
                *limit_command,
                environment={},
                log=logs / f"bare-{driver}-{store.count}.log",
            )
        )
        yield api, Target(api.port, authorization(store.key)), Target(bare.port)


def api_environment(url: str, database: str) -> dict[str, str]:
    return {
        "ACTIVITY_MONGO_URL": url,
        "ACTIVITY_MONGO_DATABASE": database,
        "ACTIVITY_HTTP_PORT": "0",
        "ACTIVITY_OPERATIONS_PORT": "0",
        "ACTIVITY_RATE_LIMIT": "1000000/second",  # counted, and never reached
        "ACTIVITY_CURSOR_SECRET": "a secret of the benchmark",
    }


def authorization(key: str) -> bytes:
    return b"Authorization: Bearer " + key.encode() + b"\r\n"


async def measure_reads(
    report: Report, ours: Target, limit: Target, *, count: int, rounds: int, times: int
) -> None:
    """Every read line."""
    for line in read_lines(count):
        bare_paths = [f"/{name}" for name in line.limit]
        api, bare = await alternate(
            rounds * SLICES,
            partial(rate, ours, line.ours, times // SLICES),
            partial(rate, limit, bare_paths, times // SLICES),
        )
        what = f"{line.what}, {count:,}"
        report.add(Line(what, "bare handler", "req/s", api, bare, at_least=line.at_least))


async def measure_sizes(
    report: Report, by_size: dict[int, Target], *, rounds: int, times: int
) -> None:
    """Every read of the larger stores against the same read of the smallest."""
    smallest, *larger = sorted(by_size)
    lines = {count: read_lines(count) for count in by_size}
    for number, line in enumerate(lines[smallest]):
        sides = [
            partial(median_milliseconds, by_size[count], lines[count][number].ours, times // SLICES)
            for count in (smallest, *larger)
        ]
        base, *figures = await alternate(rounds * SLICES, *sides)
        for count, milliseconds in zip(larger, figures, strict=True):
            what = f"{line.what}, {count:,}"
            report.add(Line(what, f"{smallest:,}", "ms", milliseconds, base, at_most=1.3))


async def median_milliseconds(target: Target, paths: list[str], times: int) -> float:
    return quantile(await request_seconds(target, paths, times), 0.5) * 1000


async def measure_depth(report: Report, ours: Target, *, rounds: int, times: int) -> None:
    """The first page against the one `DEPTH_ROWS` deep by cursor."""
    deep = await _path_at_depth(ours)
    sides = [
        partial(median_milliseconds, ours, [path], times // SLICES) for path in (deep, LISTING)
    ]
    below, first = await alternate(rounds * SLICES, *sides)
    what = f"page {DEPTH_ROWS:,} rows deep by cursor"
    report.add(Line(what, "first page", "ms", below, first, at_most=1.2))


async def _path_at_depth(ours: Target) -> str:
    path = LISTING
    async with connected(ours) as connection:
        for _ in range(DEPTH_ROWS // 100):
            _, head = await connection.ask(path)
            link = head.decode().split("Link: <")[1]
            path = link.split(">")[0]
    return path


async def measure_drivers(
    report: Report, targets: dict[str, Target], *, count: int, rounds: int, times: int
) -> None:
    """The same reads on both drivers."""
    for line in read_lines(count):
        pymongo, motor = await alternate(
            rounds * SLICES,
            partial(rate, targets["pymongo"], line.ours, times // SLICES),
            partial(rate, targets["motor"], line.ours, times // SLICES),
        )
        report.add(Line(f"{line.what}: pymongo", "motor", "req/s", pymongo, motor))


async def create_key(url: str, database: str, organization: str = READER) -> str:
    """A key of an organization, that of the store unless told otherwise, by the real command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "service", "keys", "create", "--organization", organization),
        env=os.environ | api_environment(url, database),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def drop(url: str, database: str) -> None:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
    await client.drop_database(database)
    await client.close()
