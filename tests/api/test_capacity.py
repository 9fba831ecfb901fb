"""Who gets a place, who waits for one, who is refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.api.capacity import (
    LONG_DELAY_SECONDS,
    SHORT_DELAY_SECONDS,
    SURE_SHARE,
    Capacity,
    Lane,
    Pace,
    Places,
)
from service.errors import Overloaded
from service.observability import REQUESTS_REFUSED

LONG = 60.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def new_lane(places: int, *, clock: Clock | None = None, max_wait_seconds: float = LONG) -> Lane:
    return Lane(
        "tests",
        Places(places, places),
        max_wait_seconds=max_wait_seconds,
        clock=clock or Clock(),
    )


def refused_so_far() -> float:
    return float(REQUESTS_REFUSED.labels("wait")._value.get())


class Crowd:
    """Requests of several keys: which have begun, each until it is told to end."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._ends: list[tuple[str, asyncio.Event]] = []
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *keys: str) -> None:
        self.tasks += [asyncio.create_task(self._work(key)) for key in keys]
        await settle()

    async def end(self, key: str) -> None:
        """One of this key's ends that has begun."""
        place = next(place for place, (whose, _) in enumerate(self._ends) if whose == key)
        self._ends.pop(place)[1].set()
        await settle()

    async def _work(self, key: str) -> None:
        async with self._lane.turn(key):
            self.begun.append(key)
            end = asyncio.Event()
            self._ends.append((key, end))
            await end.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def crowded(lane: Lane) -> AsyncIterator[Crowd]:
    crowd = Crowd(lane)
    try:
        yield crowd
    finally:
        for task in crowd.tasks:
            task.cancel()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)
        assert (lane.in_use, lane.waiting, lane.held) == (0, 0, Counter())


async def test_a_key_alone_leaves_a_place_to_whoever_comes() -> None:
    async with crowded(new_lane(8)) as crowd:
        await crowd.come(*["a"] * 20)
        assert crowd.begun == ["a"] * 7

        await crowd.come("b")

        assert crowd.begun[7:] == ["b"]


async def test_turns_go_round_the_keys() -> None:
    async with crowded(new_lane(1)) as crowd:
        await crowd.come("a", *["a"] * 3, *["b"] * 3, "c")
        for _ in range(7):
            await crowd.end(crowd.begun[-1])

    assert crowd.begun == ["a", "a", "b", "c", "a", "b", "a", "b"]


def still_at_work(crowd: Crowd) -> list[str]:
    return [key for key, _ in crowd._ends]


async def test_nobody_holds_more_than_half_while_others_wait() -> None:
    async with crowded(new_lane(8)) as crowd:
        await crowd.come(*["a"] * 50, *["b"] * 50)
        for _ in range(40):
            key = still_at_work(crowd)[0]
            await crowd.end(key)

        assert Counter(still_at_work(crowd)) == {"a": 4, "b": 4}


async def test_of_one_key_those_who_came_first_are_first() -> None:
    lane, order = new_lane(2), []

    async def work(number: int) -> None:
        async with lane.turn("a"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(10)))

    assert order == list(range(10))


async def test_however_many_wait_all_are_served() -> None:
    lane = Lane("tests", Places(5, 5), max_wait_seconds=LONG)

    async def work() -> None:
        async with lane.turn("a"):
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(5_000)))

    assert (lane.in_use, lane.waiting) == (0, 0)


async def test_whoever_waits_too_long_is_refused() -> None:
    lane, refused = new_lane(1, max_wait_seconds=0.02), refused_so_far()
    async with lane.turn("a"):
        with pytest.raises(Overloaded):
            await lane.take("a")
        assert lane.waiting == 0
    async with lane.turn("a"):
        pass

    assert refused_so_far() == refused + 1


async def test_who_hangs_up_leaves_the_place_to_others() -> None:
    async with crowded(new_lane(2)) as crowd:
        await crowd.come("a", "a", "a")
        assert crowd.begun == ["a"]
        crowd.tasks[1].cancel()
        await settle()

        await crowd.end("a")

        assert crowd.begun == ["a", "a"]


async def test_a_place_given_to_one_who_hangs_up_at_once_is_given_on() -> None:
    lane = new_lane(1)
    await lane.take("a")
    waiting = asyncio.create_task(lane.take("a"))
    await settle()

    lane.give_back("a")
    waiting.cancel()
    await asyncio.wait([waiting])

    assert (lane.in_use, lane.waiting) == (0, 0)


async def crowd_at_a_hundred_a_second(count: int) -> tuple[Lane, list[asyncio.Task[None]]]:
    """A lane whose bound is a second, and those who came to it, 75 of whom have had their turns."""
    clock = Clock()
    lane = new_lane(2, clock=clock, max_wait_seconds=1.0)
    await lane.take("a")
    waiting = [asyncio.create_task(lane.take("a")) for _ in range(count)]
    await settle()
    for _ in range(75):
        clock.seconds += 0.01
        lane.give_back("a")
        await settle()
    return lane, waiting


async def test_what_would_take_too_long_is_refused_soon() -> None:
    """A hundred turns a second: 75 may wait, and who comes then would wait for longer."""
    lane, waiting = await crowd_at_a_hundred_a_second(175)
    assert lane.waiting == 100

    async with asyncio.timeout(0.5):
        with pytest.raises(Overloaded) as refused:
            await lane.take("a")
        assert refused.value.retry_after_seconds == 2  # 101 turns, 100 a second
        await lane.take("b")

    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_those_who_would_wait_too_long_are_told_as_soon_as_it_is_known() -> None:
    lane, waiting = await crowd_at_a_hundred_a_second(275)

    async with asyncio.timeout(0.5):
        while lane.waiting > 110:  # noqa: ASYNC110 a timer of its own looks
            await asyncio.sleep(0.01)

    assert lane.waiting >= 95
    assert all(isinstance(task.exception(), Overloaded) for task in waiting[-90:])
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_before_anything_is_known_nobody_is_refused_at_once() -> None:
    clock = Clock()
    lane = new_lane(2, clock=clock)
    await lane.take("a")
    waiting = [asyncio.create_task(lane.take("a")) for _ in range(5_000)]
    await settle()
    clock.seconds += Pace.WARM_UP_SECONDS + Pace.MIN_SECONDS
    waiting.append(asyncio.create_task(lane.take("a")))
    await settle()

    assert lane.waiting == 5_001
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


def test_the_pace_is_that_of_the_last_second_or_two() -> None:
    pace = Pace(now=-Pace.WARM_UP_SECONDS)
    for number in range(100):
        pace.count(number / 100)
    assert pace.per_second(1.0) == pytest.approx(100, rel=0.02)
    # A pause of half a second is not taken for the rule.
    assert pace.per_second(1.5) == pytest.approx(67, rel=0.02)

    assert pace.per_second(5.0) == 0


def test_places_follow_what_limits() -> None:
    places = Places(5, 30)
    for _ in range(100):
        places.follow(SHORT_DELAY_SECONDS / 2)
    assert places.now == 30

    places.follow((SHORT_DELAY_SECONDS + LONG_DELAY_SECONDS) / 2)
    assert places.now == 30
    places.follow(LONG_DELAY_SECONDS * 2)
    assert places.now == 22
    for _ in range(100):
        places.follow(LONG_DELAY_SECONDS * 2)
    assert places.now == 5


async def test_places_grow_while_the_event_loop_has_time() -> None:
    capacity = Capacity(48, max_wait_seconds=LONG)
    async with crowded(capacity.indexed) as crowd:
        await crowd.come(*["a"] * 60)
        at_first = len(crowd.begun)
        async with asyncio.timeout(20):
            while len(crowd.begun) <= 2 * at_first:  # noqa: ASYNC110 no event tells
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("connections", [1, 2, 8, 16, 48, 1000])
def test_no_lane_is_closed_and_all_fit_the_pool(connections: int) -> None:
    capacity = Capacity(connections, max_wait_seconds=LONG)
    lanes = (capacity.indexed, capacity.filtered, capacity.large, capacity.lookups)

    for lane in lanes:
        for _ in range(2 * connections):
            lane.places.follow(0)
    assert all(lane.places.now >= 1 for lane in lanes)
    assert sum(lane.places.now for lane in lanes) <= max(connections, len(lanes) + 1)


def test_an_estimate_leaves_room_for_its_error() -> None:
    assert 0.5 < SURE_SHARE < 1
