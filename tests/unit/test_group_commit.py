"""Group commit: one does the work of all who wait for it."""

import asyncio
from collections.abc import Sequence

import pytest

from service.store.group_commit import GroupCommit


class Worker:
    """Remembers the groups it was given; ends with each only when it is told how."""

    def __init__(self) -> None:
        self.commits = GroupCommit[str]()
        self.begun: list[Sequence[str]] = []
        self.finished: list[Sequence[str]] = []
        self._endings = asyncio.Queue[Exception | None]()

    async def add(self, item: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self.commits.run(item, self._work))
        await settle()
        return task

    async def end(self, fault: Exception | None = None) -> None:
        """One group."""
        self._endings.put_nowait(fault)
        await settle()

    async def _work(self, group: Sequence[str]) -> None:
        self.begun.append(group)
        if fault := await self._endings.get():
            raise fault
        self.finished.append(group)


async def settle() -> None:
    """Let everybody come as far as he can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def worker() -> Worker:
    return Worker()


async def test_who_comes_first_works_at_once(worker: Worker) -> None:
    task = await worker.add("a")
    await worker.end()
    await task

    assert worker.finished == [["a"]]
    assert worker.commits.waiting == 0


async def test_who_comes_meanwhile_is_served_together_afterwards(worker: Worker) -> None:
    tasks = [await worker.add(item) for item in "abcd"]
    assert worker.begun == [["a"]]  # begun before the others were wished for
    assert worker.commits.waiting == 4

    await worker.end()
    assert [task.done() for task in tasks] == [True, False, False, False]
    await worker.end()
    await asyncio.gather(*tasks)

    assert worker.finished == [["a"], ["b", "c", "d"]]
    assert worker.commits.waiting == 0


async def test_equal_items_are_two(worker: Worker) -> None:
    tasks = [await worker.add("a") for _ in range(3)]
    await worker.end()
    await worker.end()
    await asyncio.gather(*tasks)

    assert worker.finished == [["a"], ["a", "a"]]


async def test_a_failure_is_had_by_its_group_and_nobody_else(worker: Worker) -> None:
    first = await worker.add("a")
    group = [await worker.add(item) for item in "bc"]
    await worker.end()
    late = await worker.add("d")
    await worker.end(ValueError("failed"))
    await worker.end()

    for failing in group:
        with pytest.raises(ValueError, match="failed"):
            await failing
    await asyncio.gather(first, late)
    assert worker.begun == [["a"], ["b", "c"], ["d"]]
    assert worker.finished == [["a"], ["d"]]
    assert worker.commits.waiting == 0


async def test_who_gives_up_working_leaves_it_to_the_next(worker: Worker) -> None:
    first, second, third = [await worker.add(item) for item in "abc"]
    first.cancel()
    await settle()
    assert worker.begun == [["a"], ["b", "c"]]
    second.cancel()
    await settle()
    await worker.end()
    await third

    assert first.cancelled()
    assert second.cancelled()
    assert worker.finished == [["c"]]
    assert worker.commits.waiting == 0


async def test_who_gives_up_waiting_is_waited_for_by_nobody(worker: Worker) -> None:
    first, second, third = [await worker.add(item) for item in "abc"]
    second.cancel()
    await worker.end()
    await worker.end()
    await asyncio.gather(first, third)

    assert worker.finished == [["a"], ["c"]]
    assert worker.commits.waiting == 0


async def test_who_gives_up_while_another_works_for_him_is_gone(worker: Worker) -> None:
    first, second, third = [await worker.add(item) for item in "abc"]
    await worker.end()
    third.cancel()
    await worker.end(ValueError("failed"))

    await first
    with pytest.raises(ValueError, match="failed"):
        await second
    assert third.cancelled()
    assert worker.commits.waiting == 0
