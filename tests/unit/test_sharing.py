"""Sharing: work that one does for all who wait for it."""

import asyncio
from collections.abc import Sequence

import pytest

from service.store.sharing import Sharing


class Worker:
    """Works on a group until it is let go, and remembers the groups it has finished."""

    def __init__(self) -> None:
        self.begun: list[Sequence[str]] = []
        self.finished: list[Sequence[str]] = []
        self.may_finish = asyncio.Event()
        self.fails = False

    async def work(self, group: Sequence[str]) -> None:
        self.begun.append(group)
        await self.may_finish.wait()
        if self.fails:
            raise ValueError("failed")
        self.finished.append(group)


async def settle() -> None:
    """Let everybody come as far as he can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def worker() -> Worker:
    return Worker()


async def test_who_comes_first_works_at_once(worker: Worker) -> None:
    worker.may_finish.set()
    sharing = Sharing[str]()

    await sharing.fulfil("a", worker.work)

    assert worker.finished == [["a"]]
    assert sharing.waiting == 0


async def test_who_comes_meanwhile_is_served_together_afterwards(worker: Worker) -> None:
    sharing = Sharing[str]()
    async with asyncio.TaskGroup() as tasks:
        for wish in "abcd":
            tasks.create_task(sharing.fulfil(wish, worker.work))
            await settle()
        assert worker.begun == [["a"]]  # begun before the others were wished for
        assert sharing.waiting == 4
        worker.may_finish.set()

    assert worker.finished == [["a"], ["b", "c", "d"]]
    assert sharing.waiting == 0


async def test_equal_wishes_are_two(worker: Worker) -> None:
    worker.may_finish.set()
    sharing = Sharing[str]()

    await asyncio.gather(*(sharing.fulfil("a", worker.work) for _ in range(2)))

    assert sum(map(len, worker.finished)) == 2


async def test_a_failure_is_had_by_who_worked_and_the_next_one_tries_for_all(
    worker: Worker,
) -> None:
    sharing = Sharing[str]()
    first = asyncio.create_task(sharing.fulfil("a", worker.work))
    await settle()
    others = [asyncio.create_task(sharing.fulfil(wish, worker.work)) for wish in "bcd"]
    await settle()

    worker.fails = True
    worker.may_finish.set()
    with pytest.raises(ValueError, match="failed"):
        await first
    with pytest.raises(ValueError, match="failed"):
        await others[0]
    worker.fails = False
    await asyncio.gather(*others[1:])

    assert worker.begun == [["a"], ["b", "c", "d"], ["c", "d"]]
    assert worker.finished == [["c", "d"]]


async def test_who_gives_up_working_leaves_it_to_the_next(worker: Worker) -> None:
    sharing = Sharing[str]()
    first = asyncio.create_task(sharing.fulfil("a", worker.work))
    await settle()
    others = [asyncio.create_task(sharing.fulfil(wish, worker.work)) for wish in "bc"]
    await settle()

    first.cancel()
    await settle()
    assert worker.begun == [["a"], ["b", "c"]]
    others[0].cancel()
    worker.may_finish.set()
    await others[1]

    assert worker.finished == [["c"]]
    assert sharing.waiting == 0


async def test_who_gives_up_waiting_is_waited_for_by_nobody(worker: Worker) -> None:
    sharing = Sharing[str]()
    first = asyncio.create_task(sharing.fulfil("a", worker.work))
    await settle()
    second, third = (asyncio.create_task(sharing.fulfil(wish, worker.work)) for wish in "bc")
    await settle()

    second.cancel()
    worker.may_finish.set()
    await asyncio.gather(first, third)

    assert worker.finished == [["a"], ["c"]]
    assert sharing.waiting == 0
