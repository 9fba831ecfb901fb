"""Sharing: work that one does for all who wait for it."""

import asyncio
from collections.abc import Sequence

import pytest

from service.store.sharing import Sharing


class Worker:
    """Remembers the groups it was given; ends with each only when it is told how."""

    def __init__(self) -> None:
        self.sharing = Sharing[str]()
        self.begun: list[Sequence[str]] = []
        self.finished: list[Sequence[str]] = []
        self._endings = asyncio.Queue[Exception | None]()

    async def wish(self, wish: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self.sharing.fulfil(wish, self._work))
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
    task = await worker.wish("a")
    await worker.end()
    await task

    assert worker.finished == [["a"]]
    assert worker.sharing.waiting == 0


async def test_who_comes_meanwhile_is_served_together_afterwards(worker: Worker) -> None:
    tasks = [await worker.wish(wish) for wish in "abcd"]
    assert worker.begun == [["a"]]  # begun before the others were wished for
    assert worker.sharing.waiting == 4

    await worker.end()
    assert [task.done() for task in tasks] == [True, False, False, False]
    await worker.end()
    await asyncio.gather(*tasks)

    assert worker.finished == [["a"], ["b", "c", "d"]]
    assert worker.sharing.waiting == 0


async def test_equal_wishes_are_two(worker: Worker) -> None:
    tasks = [await worker.wish("a") for _ in range(3)]
    await worker.end()
    await worker.end()
    await asyncio.gather(*tasks)

    assert worker.finished == [["a"], ["a", "a"]]


async def test_a_failure_is_had_by_its_group_and_nobody_else(worker: Worker) -> None:
    first = await worker.wish("a")
    group = [await worker.wish(wish) for wish in "bc"]
    await worker.end()
    late = await worker.wish("d")
    await worker.end(ValueError("failed"))
    await worker.end()

    for failing in group:
        with pytest.raises(ValueError, match="failed"):
            await failing
    await asyncio.gather(first, late)
    assert worker.begun == [["a"], ["b", "c"], ["d"]]
    assert worker.finished == [["a"], ["d"]]
    assert worker.sharing.waiting == 0


async def test_who_gives_up_working_leaves_it_to_the_next(worker: Worker) -> None:
    first, second, third = [await worker.wish(wish) for wish in "abc"]
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
    assert worker.sharing.waiting == 0


async def test_who_gives_up_waiting_is_waited_for_by_nobody(worker: Worker) -> None:
    first, second, third = [await worker.wish(wish) for wish in "abc"]
    second.cancel()
    await worker.end()
    await worker.end()
    await asyncio.gather(first, third)

    assert worker.finished == [["a"], ["c"]]
    assert worker.sharing.waiting == 0


async def test_who_gives_up_while_another_works_for_him_is_gone(worker: Worker) -> None:
    first, second, third = [await worker.wish(wish) for wish in "abc"]
    await worker.end()
    third.cancel()
    await worker.end(ValueError("failed"))

    await first
    with pytest.raises(ValueError, match="failed"):
        await second
    assert third.cancelled()
    assert worker.sharing.waiting == 0
