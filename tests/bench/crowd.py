"""Crowds: everybody is served while there is room, and beyond it as many as can be, in fair turns.

Each line stands beside the bare handler in the same run, alternating. `LINES` can be run one by one
(`make bench OPTIONS='--part crowd --line closed'`).
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument

from service.activities.types import EMAIL_THREAD, TYPES
from service.settings import MongoSettings
from service.store.mongo import connect as connect_mongo
from tests.bench import delay, reads
from tests.bench.client import Connection, Target, connect
from tests.bench.corpus import EVERY, READER, START, ordinary_lead
from tests.bench.measure import Line, Report, alternate, quantile
from tests.bench.processes import Process, running, until_ready
from tests.bench.reads import LISTING, Store, api_environment, authorization, create_key

ROUNDS = 3
CLOSED_CLIENTS = (4, 16, 64, 256)
CLOSED_SECONDS = 2.0
OPEN_REQUESTS = 20_000
FLOOD_SECONDS = 10.0
CALM_SECONDS = 10.0
NEIGHBOUR_RATE = 20.0
NEIGHBOUR_SECONDS = 12.0
SLOW_NOTES = 200_000
LARGE_PAGE_BYTES = 25_000_000
SLOW_ORGANIZATION, LARGE_ORGANIZATION = "orga_slow", "orga_large"


@dataclass(slots=True)
class Outcome:
    """What became of requests: how many of each status, and the seconds that each took."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    elapsed: float = 0.0

    def add(self, status: int, seconds: float) -> None:
        self.seconds.setdefault(status, []).append(seconds)

    @property
    def statuses(self) -> dict[int, int]:
        return {status: len(seconds) for status, seconds in sorted(self.seconds.items())}

    @property
    def good(self) -> float:
        """Good answers a second."""
        return len(self.seconds.get(200, ())) / self.elapsed

    @property
    def bad(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    def tail(self, status: int = 200, share: float = 0.99) -> float:
        """Milliseconds; 0 where there was no such answer."""
        seconds = self.seconds.get(status)
        return quantile(seconds, share) * 1000 if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """An API process and the bare handler on one store."""

    report: Report
    mongo_url: str
    store: Store
    api: Process
    ours: Target
    bare: Target
    logs: Path

    @property
    def lead_pages(self) -> list[str]:
        return [f"{LISTING}?lead_id={lead}" for lead in self.leads]

    @property
    def leads(self) -> list[str]:
        return [ordinary_lead(number) for number in range(min(200, self.store.count // 100))]

    def line(self, what: str, against: str, unit: str, ours: list[float], **more: Any) -> None:
        limit = more.pop("limit", [])
        self.report.add(Line(what, against, unit, ours, limit, **more))


# --- loads ----------------------------------------------------------------------------------------
async def closed_loop(
    target: Target, paths: Sequence[str], *, clients: int, seconds: float
) -> Outcome:
    """Each client asks again as soon as it has its answer."""
    outcome = Outcome()
    connections = [await connect(target) for _ in range(clients)]
    started = time.perf_counter()

    async def client(number: int, connection: Connection) -> None:
        turn = number
        while (asked := time.perf_counter()) < started + seconds:
            status, _ = await connection.ask(paths[turn % len(paths)])
            outcome.add(status, time.perf_counter() - asked)
            turn += 1

    await asyncio.gather(*(client(*each) for each in enumerate(connections)))
    outcome.elapsed = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return outcome


async def open_loop(
    target: Target, paths: Sequence[str], *, rate: float, count: int, seed: int = 1
) -> Outcome:
    """Poisson arrivals, whether or not the answers come, each over a connection that is free."""
    outcome, source = Outcome(), random.Random(seed)
    idle: list[Connection] = []
    started = due = time.perf_counter()

    async def one(path: str, due: float) -> None:
        connection = idle.pop() if idle else await connect(target)
        status, _ = await connection.ask(path)
        outcome.add(status, time.perf_counter() - due)
        idle.append(connection)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            due += source.expovariate(rate)
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            tasks.create_task(one(paths[number % len(paths)], time.perf_counter()))
    outcome.elapsed = time.perf_counter() - started
    for connection in idle:
        connection.close()
    return outcome


async def capacity(target: Target, paths: Sequence[str]) -> float:
    """Good answers a second of eight clients in a closed loop."""
    await closed_loop(target, paths, clients=8, seconds=1.0)
    return (await closed_loop(target, paths, clients=8, seconds=3.0)).good


# --- the lines ------------------------------------------------------------------------------------
async def measure_closed(scene: Scene) -> None:
    """1: closed loops of 4 to 256 connections."""
    shapes = (
        ("a lead's page", scene.lead_pages, [f"/{lead}" for lead in scene.leads]),
        ("newest 100", [LISTING], ["/org-100"]),
    )
    for what, ours, bare in shapes:
        for clients in CLOSED_CLIENTS:
            refused: Counter[int] = Counter()

            async def good(target: Target, paths: Sequence[str], count: int = clients) -> float:
                outcome = await closed_loop(target, paths, clients=count, seconds=CLOSED_SECONDS)
                if target == scene.ours:
                    refused[outcome.bad] += 1  # noqa: B023 read in this very round
                return outcome.good

            figures = await alternate(
                ROUNDS,
                lambda ours=ours, good=good: good(scene.ours, ours),  # type: ignore[misc]
                lambda bare=bare, good=good: good(scene.bare, bare),  # type: ignore[misc]
            )
            name = f"closed loop, {clients} connections, {what}"
            total = float(sum(number * times for number, times in refused.items()))
            scene.line(name, "bare handler", "req/s", figures[0], limit=figures[1], at_least=0.9)
            scene.line(f"{name}: refused", "-", "", [total], at_most=0)


def measure_open(share: float) -> Callable[[Scene], Awaitable[None]]:
    async def measure(scene: Scene) -> None:
        """2: Poisson arrivals at a share of the capacity."""
        ours, bare = scene.lead_pages, [f"/{lead}" for lead in scene.leads]
        rate = share * min(await capacity(scene.ours, ours), await capacity(scene.bare, bare))
        tails: list[list[float]] = [[], []]
        refused = 0
        for number in range(4):
            # In turns, so that what the machine does besides is in both.
            for side, target, paths in ((0, scene.ours, ours), (1, scene.bare, bare)):
                count = OPEN_REQUESTS // 4
                outcome = await open_loop(target, paths, rate=rate, count=count, seed=number)
                tails[side].append(outcome.tail())
                refused += outcome.bad if side == 0 else 0
        name = f"Poisson, {share:.0%} of the capacity ({rate:.0f}/s)"
        scene.line(f"{name}: p99", "bare handler", "ms", tails[0], limit=tails[1], at_most=2)
        scene.line(f"{name}: refused of {OPEN_REQUESTS:,}", "-", "", [float(refused)], at_most=0)

    return measure


def measure_flood(share: float, at_least: float) -> Callable[[Scene], Awaitable[None]]:
    async def measure(scene: Scene) -> None:
        """3: beyond the capacity."""
        paths = scene.lead_pages
        full = await capacity(scene.ours, paths)
        bare_full = await capacity(scene.bare, [f"/{lead}" for lead in scene.leads])
        before = await open_loop(scene.ours, paths, rate=full / 4, count=int(full * 1.5))
        memory = resident_megabytes(scene.api)
        count = int(share * full * FLOOD_SECONDS)
        flood = await open_loop(scene.ours, paths, rate=share * full, count=count)
        grown = resident_megabytes(scene.api) - memory
        await asyncio.sleep(CALM_SECONDS)
        after = await open_loop(scene.ours, paths, rate=full / 4, count=int(full * 1.5))
        name = f"{share:.0%} of the capacity"
        note = f"{flood.statuses}; the bare handler alone {bare_full:.0f}/s"
        scene.line(
            f"{name}: good answers", "capacity", "req/s", [flood.good], limit=[full],
            at_least=at_least, note=note,
        )  # fmt: skip
        scene.line(f"{name}: p99 of the answered", "-", "ms", [flood.tail()], at_most=1250)
        scene.line(f"{name}: p99 of the refused", "-", "ms", [flood.tail(503)], at_most=250)
        scene.line(f"{name}: memory grown", "-", "MB", [grown], at_most=100)
        scene.line(
            f"{name}: p99 ten seconds later", "before", "ms", [after.tail()],
            limit=[before.tail()], at_most=2,
        )  # fmt: skip

    return measure


def resident_megabytes(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def neighbour(scene: Scene) -> Outcome:
    """Somebody who asks twenty times a second."""
    count = int(NEIGHBOUR_RATE * NEIGHBOUR_SECONDS)
    return await open_loop(scene.ours, scene.lead_pages, rate=NEIGHBOUR_RATE, count=count)


async def measure_neighbours(scene: Scene) -> None:
    """4: beside another key's crowd."""
    await fill_neighbours(scene.mongo_url, scene.store.name)
    slow_key = await create_key(scene.mongo_url, scene.store.name, SLOW_ORGANIZATION)
    large_key = await create_key(scene.mongo_url, scene.store.name, LARGE_ORGANIZATION)
    slow = Target(scene.ours.port, authorization(slow_key))
    large = Target(scene.ours.port, authorization(large_key))
    crowds = {
        "64 loops of a slow query": slow_loops(slow),
        "6 connections that do not read 25 MB": silent_readers(large, 6),
        "64 loops of unknown keys": unknown_keys(scene.ours),
        "64 loops of pages": busy_loops(slow, "/api/v1/activity/?_limit=100"),
    }
    for what, crowd in crowds.items():
        alone = await neighbour(scene)
        async with crowd as others:
            await asyncio.sleep(2.0)
            beside = await neighbour(scene)
        name = f"20 requests a second beside {what}"
        note = f"the crowd: {others.statuses}"
        scene.line(
            f"{name}: p99", "alone", "ms", [beside.tail()], limit=[alone.tail()], at_most=3,
            note=note,
        )  # fmt: skip
        scene.line(f"{name}: refused", "-", "", [float(beside.bad)], at_most=0)
        await asyncio.sleep(1.0)
    megabytes = scene.api.memory_megabytes()
    scene.line("most memory of the API beside them", "-", "MB", [megabytes], at_most=512)


@asynccontextmanager
async def looping(work: Callable[[Outcome], Awaitable[None]], count: int) -> AsyncIterator[Outcome]:
    """So many at it, until the context ends."""
    outcome = Outcome()
    tasks = [asyncio.create_task(_forever(work, outcome)) for _ in range(count)]
    try:
        yield outcome
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forever(work: Callable[[Outcome], Awaitable[None]], outcome: Outcome) -> None:
    while True:
        try:
            await work(outcome)
        except ConnectionError:
            outcome.add(0, 0.0)


def slow_loops(target: Target) -> Any:
    return busy_loops(target, "/api/v1/activity/note/?user_id=nobody")


def busy_loops(target: Target, path: str) -> Any:
    async def loop(outcome: Outcome) -> None:
        connection = await connect(target)
        try:
            while True:
                asked = time.perf_counter()
                status, _ = await connection.ask(path)
                outcome.add(status, time.perf_counter() - asked)
        finally:
            connection.close()

    return looping(loop, 64)


def unknown_keys(target: Target) -> Any:
    source = random.Random(5)

    async def loop(outcome: Outcome) -> None:
        key = f"key_{source.getrandbits(96):024x}.{'a' * 43}"
        connection = await connect(Target(target.port, authorization(key)))
        try:
            status, _ = await connection.ask(LISTING)
            outcome.add(status, 0.0)
        finally:
            connection.close()

    return looping(loop, 64)


def silent_readers(target: Target, count: int) -> Any:
    async def ask(outcome: Outcome) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=1024)
        try:
            writer.write(
                b"GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n" % (LISTING.encode(), target.headers)
            )
            line = await reader.readline()
            outcome.add(int(line[9:12] or 0), 0.0)
            if line[9:12] == b"200":
                while not writer.transport.is_closing():  # noqa: ASYNC110 it is closed by the server
                    await asyncio.sleep(0.1)
        finally:
            writer.transport.abort()

    return looping(ask, count)


async def fill_neighbours(url: str, database: str) -> None:
    """Two organizations more: one of many notes, one of large ones."""
    async with connect_mongo(MongoSettings(url=url, database=database)) as mongo:
        for first in range(0, SLOW_NOTES, 5000):
            notes = [_note(SLOW_ORGANIZATION, number, "n") for number in range(first, first + 5000)]
            await mongo.activities.insert_many(notes, ordered=False)
        text = "n" * (LARGE_PAGE_BYTES // 100)
        large = [_note(LARGE_ORGANIZATION, number, text) for number in range(100)]
        await mongo.activities.insert_many(large, ordered=False)


def _note(organization: str, number: int, text: str) -> RawBSONDocument:
    at = START + number * EVERY
    document = {
        "_id": f"{organization}!acti_{number}",
        "id": f"acti_{number}",
        "organization_id": organization,
        "_type": "Note",
        "lead_id": f"lead_{number % 500}",
        "user_id": "user_1",
        "date_created": at,
        "activity_at": at,
        "note": text,
        "_meta": {"revision": f"{0:020d}/ev_{number}"},
    }
    return RawBSONDocument(encode(document))


async def measure_delays(scene: Scene) -> None:
    """5: MongoDB further away, behind a proxy."""
    for milliseconds in (50, 200):
        async with delay.delayed(scene.mongo_url, milliseconds, scene.logs) as far:
            environment = api_environment(far, scene.store.name)
            log = scene.logs / f"far-{milliseconds}.log"
            async with running("service", "serve", environment=environment, log=log) as api:
                await until_ready(api)
                target = Target(api.port, scene.ours.headers)
                await closed_loop(target, scene.lead_pages, clients=64, seconds=2.0)
                outcome = await closed_loop(target, scene.lead_pages, clients=64, seconds=6.0)
        allowed = 32 / (milliseconds / 1000)
        name = f"MongoDB {milliseconds} ms away, 64 connections"
        scene.line(
            name, "32 finds at a time", "req/s", [outcome.good], limit=[allowed], at_least=0.8
        )
        scene.line(f"{name}: refused", "-", "", [float(outcome.bad)], at_most=0)


async def measure_browsers(scene: Scene) -> None:
    """6: pages of 12 requests over 6 connections a user."""
    for users in (1, 3, 10):
        holes = 0
        milliseconds = []
        for target, paths in (
            (scene.ours, scene.lead_pages),
            (scene.bare, [f"/{lead}" for lead in scene.leads]),
        ):
            pages = await asyncio.gather(
                *(browse(target, paths, random.Random(user)) for user in range(users))
            )
            milliseconds.append([1000 * seconds for user in pages for seconds, _ in user])
            if target == scene.ours:
                holes = sum(is_whole is False for user in pages for _, is_whole in user)
        name = f"a browser's page of 12 requests, {users} users"
        ours, bare = ([quantile(side, 0.5)] for side in milliseconds)
        scene.line(f"{name}: median", "bare handler", "ms", ours, limit=bare)
        scene.line(f"{name}: holes in {users * 25} pages", "-", "", [float(holes)], at_most=0)


async def browse(
    target: Target, paths: Sequence[str], source: random.Random
) -> list[tuple[float, bool]]:
    """25 pages: the seconds that each took, and whether all its parts came."""
    connections = [await connect(target) for _ in range(6)]
    pages = []
    for _ in range(25):
        waiting = [source.choice(paths) for _ in range(12)]
        statuses: list[int] = []
        started = time.perf_counter()

        async def fetch(connection: Connection) -> None:
            while waiting:  # noqa: B023 of this page
                status, _ = await connection.ask(waiting.pop())  # noqa: B023
                statuses.append(status)  # noqa: B023

        await asyncio.gather(*map(fetch, connections))
        pages.append((time.perf_counter() - started, set(statuses) == {200}))
    for connection in connections:
        connection.close()
    return pages


async def measure_export(scene: Scene) -> None:
    """7: everything by the reference system's client, ten processes at once."""
    key = scene.ours.headers.split()[-1].decode()
    command = (sys.executable, "-m", "tests.bench.export", str(scene.ours.port), key)
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        for _ in range(10)
    ]
    outputs = [(await process.communicate())[0].decode().split() for process in processes]
    complete = sum(process.returncode == 0 for process in processes)
    rows = {tuple(map(int, output)) for output in outputs}
    expected = await count_rows(scene)
    wrong = 10 - complete + sum(each != (expected, expected) for each in rows)
    name = f"export of {expected:,} rows by ten processes of the reference client"
    scene.line(f"{name}: not whole", "-", "", [float(wrong)], at_most=0)


async def count_rows(scene: Scene) -> int:
    """Of the store's organization, as the listing shows it."""
    shown = [one.name for one in TYPES if one.name != EMAIL_THREAD]
    async with connect_mongo(
        MongoSettings(url=scene.mongo_url, database=scene.store.name)
    ) as mongo:
        count: int = await mongo.activities.count_documents(
            {"organization_id": READER, "_type": {"$in": shown}}
        )
    return count


async def measure_few(scene: Scene, base: Target) -> None:
    """8: one to four connections, beside the commit before."""
    for clients in (1, 2, 4):
        tails: dict[Target, list[float]] = {scene.ours: [], base: []}

        async def good(target: Target, count: int = clients) -> float:
            seconds = CLOSED_SECONDS / 2
            outcome = await closed_loop(target, scene.lead_pages, clients=count, seconds=seconds)
            tails[target].append(outcome.tail())  # noqa: B023 read in this very round
            return outcome.good

        figures = await alternate(
            4 * ROUNDS,
            lambda good=good: good(scene.ours),  # type: ignore[misc]
            lambda good=good: good(base),  # type: ignore[misc]
        )
        name = f"{clients} connections, a lead's page"
        scene.line(name, "base", "req/s", figures[0], limit=figures[1], at_least=0.98)
        ours, before = tails[scene.ours][1:], tails[base][1:]
        scene.line(f"{name}: p99", "base", "ms", ours, limit=before)


@asynccontextmanager
async def api_of(tree: Path, scene: Scene) -> AsyncIterator[Target]:
    """The API of another tree, built in place, on the same store."""
    environment = api_environment(scene.mongo_url, scene.store.name)
    log = scene.logs / "base.log"
    async with running("service", "serve", environment=environment, log=log, tree=tree) as api:
        await until_ready(api)
        yield Target(api.port, scene.ours.headers)


LINES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "closed": measure_closed,
    "open-25": measure_open(0.25),
    "open-50": measure_open(0.50),
    "open-75": measure_open(0.75),
    "flood-150": measure_flood(1.5, 0.9),
    "flood-200": measure_flood(2.0, 0.8),
    "flood-400": measure_flood(4.0, 0.5),
    "neighbours": measure_neighbours,
    "delays": measure_delays,
    "browsers": measure_browsers,
    "export": measure_export,
}


async def measure_crowd(
    report: Report,
    mongo_url: str,
    logs: Path,
    *,
    count: int,
    lines: Sequence[str],
    base: Path | None,
) -> None:
    """The chosen lines, on a store of `count` activities; `base` is a tree to stand beside."""
    async with (
        reads.stored(mongo_url, count) as store,
        reads.servers(mongo_url, store, "pymongo", logs) as (api, ours, bare),
    ):
        scene = Scene(report, mongo_url, store, api, ours, bare, logs)
        for name in lines or LINES:
            await LINES[name](scene)
        if base is not None:
            async with api_of(base, scene) as target:
                await measure_few(scene, target)
