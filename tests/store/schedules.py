"""Writers driven step by step through the service's own code, in every order that matters.

A writer is one consumer with one batch. Before each of its steps (the write, then the steps of
design 5) it waits for its turn, so that a schedule decides who does what when; a writer that stops
between two steps has crashed, one that goes on much later is a member that has lost its session.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import pytest

from service.store import threads
from service.store.group_commit import GroupCommit
from service.store.mongo import Mongo
from service.store.writes import EncodedChange, write_changes

STEPS = (
    "write_changes",
    "read_marks",
    "read_versions",
    "read_members",
    "write_threads",
    "clear_marks",
)

# Where it matters when the feed is told, that is a step of its own.
STEPS_WITH_FEED = (*STEPS[:-1], "write_feed", "clear_marks")

# Steps that only read: of two such neighbours the order makes no difference.
_READINGS = frozenset({"read_marks", "read_versions", "read_members"})
_current: ContextVar["Writer | None"] = ContextVar("writer", default=None)

Schedule = Sequence[tuple[int, int]]
"""Which writer, and how many steps it takes before the next one's turn."""


@dataclass(frozen=True, slots=True)
class Part:
    """A writer's part in a play: its batch, and after which number of steps it crashes."""

    batch: int
    crashes_after: int | None = None

    @property
    def steps(self) -> int:
        return self.crashes_after or len(STEPS)


class Writer:
    """One consumer with one batch, which takes a step only when told to."""

    def __init__(self, mongo: Mongo, changes: Sequence[EncodedChange]) -> None:
        self._turns = asyncio.Semaphore(0)
        self._is_waiting = asyncio.Event()
        # A process of its own shares nothing with the others.
        alone = replace(mongo, refreshes=GroupCommit())
        self._task = asyncio.create_task(self._work(alone, changes))

    async def _work(self, mongo: Mongo, changes: Sequence[EncodedChange]) -> None:
        _current.set(self)
        try:
            await self.turn()
            written = await write_changes(mongo, changes)
            await threads.refresh_threads(mongo, changes, written)
        finally:
            self._is_waiting.set()

    async def turn(self) -> None:
        """Wait to be told to go on."""
        self._is_waiting.set()
        await self._turns.acquire()

    async def step(self) -> None:
        """Let it take one step, where one is left."""
        await self._is_waiting.wait()
        if not self._task.done():
            self._is_waiting.clear()
            self._turns.release()
            await self._is_waiting.wait()

    async def finish(self) -> None:
        """Let it take all the steps that are left."""
        while not self._task.done():
            await self.step()
            await asyncio.sleep(0)
        await self._task

    async def crash(self) -> None:
        """It never takes another step."""
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every step of the protocol wait for its writer's turn."""
    monkeypatch.setattr(threads, "MAX_JITTER_SECONDS", 0)
    for name in STEPS[1:]:
        monkeypatch.setattr(threads, name, gated(getattr(threads, name)))


@pytest.fixture
def feed_gates(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The same, with the step that tells the feed."""
    monkeypatch.setattr(sys.modules[__name__], "STEPS", STEPS_WITH_FEED)
    request.getfixturevalue("gates")


async def wait_for_turn() -> None:
    """In a step that a test has put together: let the others go on first."""
    if writer := _current.get():
        await writer.turn()


def gated(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The step, behind a gate."""

    async def wait_and_step(*arguments: Any) -> Any:
        if writer := _current.get():
            await writer.turn()
        return await step(*arguments)

    return wait_and_step


async def play(
    mongo: Mongo,
    batches: Sequence[Sequence[EncodedChange]],
    parts: Sequence[Part],
    schedule: Schedule,
    look: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Let the writers take their steps in this order, and then whatever steps are left. `look` is
    called between any two steps of the order."""
    writers = [Writer(mongo, batches[part.batch]) for part in parts]
    taken = [0] * len(parts)
    for number, steps in schedule:
        for _ in range(steps):
            await writers[number].step()
            if look is not None:
                await look()
        taken[number] += steps
        if taken[number] == parts[number].crashes_after:
            await writers[number].crash()
    for writer, part in zip(writers, parts, strict=True):
        if part.crashes_after is None:
            await writer.finish()


def every_interleaving() -> Iterator[Schedule]:
    """Two writers from start to end: every order of their steps; of those that differ only in the
    order of neighbouring readings, one. Where a write is beaten, the steps of the second round
    follow after all others."""
    yield from _interleavings([0, 0], [])


def _interleavings(taken: list[int], schedule: list[tuple[int, int]]) -> Iterator[Schedule]:
    if all(count == len(STEPS) for count in taken):
        yield list(schedule)
        return
    for writer in (0, 1):
        if taken[writer] == len(STEPS):
            continue
        follows_the_other = writer == 0 and schedule and schedule[-1][0] == 1
        if follows_the_other and {STEPS[taken[0]], STEPS[taken[1] - 1]} <= _READINGS:
            continue  # the other order stands for both
        taken[writer] += 1
        yield from _interleavings(taken, [*schedule, (writer, 1)])
        taken[writer] -= 1


def one_interruption(parts: Sequence[Part]) -> Iterator[Schedule]:
    """All writers one after the other in every order, but for one that is interrupted once, at any
    step, and goes on at any later time. Who crashes comes before the next part with its batch."""
    seen = set()
    for interrupted, part in enumerate(parts):
        for cut in range(1, part.steps):
            blocks = [(i, cut if i == interrupted else one.steps) for i, one in enumerate(parts)]
            blocks.append((interrupted, part.steps - cut))
            for order in permutations(range(len(blocks))):
                schedule = tuple(blocks[place] for place in order)
                is_in_order = order.index(interrupted) < order.index(len(parts))
                if is_in_order and schedule not in seen and _redelivers(parts, schedule):
                    seen.add(schedule)
                    yield schedule


def _redelivers(parts: Sequence[Part], schedule: Schedule) -> bool:
    """Whether each batch that a crash left undone is delivered again, after the crash."""
    ends = {writer: place for place, (writer, _) in enumerate(schedule)}
    starts = {writer: place for place, (writer, _) in reversed(list(enumerate(schedule)))}
    return all(
        ends[crashed] < starts[again]
        for crashed, part in enumerate(parts)
        if part.crashes_after is not None
        for again in range(crashed + 1, len(parts))
        if parts[again].batch == part.batch
    )
