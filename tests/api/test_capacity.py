"""Who gets a place, who waits for one, who is refused."""

import asyncio

import pytest

from service.api.capacity import CALM_SECONDS, MAX_BURST_SECONDS, MAX_WAIT_SECONDS, Capacity
from service.errors import Overloaded
from service.observability import REQUESTS_REFUSED


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def new_capacity(clock: Clock | None = None, *, max_waiting: int = 5) -> Capacity:
    return Capacity(max_in_flight=1, max_waiting=max_waiting, clock=clock or Clock())


async def take(capacity: Capacity) -> None:
    async with capacity:
        pass


async def refused_at_once(capacity: Capacity) -> bool:
    """Whether there is no place and none is waited for."""
    try:
        async with asyncio.timeout(0):
            await take(capacity)
    except Overloaded:
        return True
    except TimeoutError:
        pass
    return False


def refused_so_far() -> float:
    (metric,) = REQUESTS_REFUSED.collect()
    return metric.samples[0].value


async def test_a_place_that_does_not_come_free_is_given_up() -> None:
    capacity, refused = new_capacity(), refused_so_far()
    async with capacity:
        with pytest.raises(Overloaded):
            await take(capacity)
    await take(capacity)

    assert refused_so_far() == refused + 1


async def test_where_enough_wait_already_nobody_waits() -> None:
    capacity, refused = new_capacity(max_waiting=0), refused_so_far()
    async with capacity, asyncio.timeout(MAX_WAIT_SECONDS / 2):
        with pytest.raises(Overloaded):
            await take(capacity)

    assert refused_so_far() == refused + 1


async def test_places_are_given_in_the_order_of_arrival() -> None:
    capacity = new_capacity()
    order: list[int] = []

    async def note(number: int) -> None:
        async with capacity:
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(note(number) for number in range(6)))

    assert order == list(range(6))


async def test_a_burst_waits_and_is_served() -> None:
    clock = Clock()
    capacity = new_capacity(clock)
    async with capacity:
        waiting = [asyncio.create_task(take(capacity)) for _ in "12"]
        await asyncio.sleep(0)
        clock.seconds += MAX_BURST_SECONDS
        waiting += [asyncio.create_task(take(capacity)) for _ in "34"]
        await asyncio.sleep(0)

    await asyncio.gather(*waiting)


async def test_a_crowd_that_lasts_is_refused_and_who_came_before_it_is_served() -> None:
    clock = Clock()
    capacity = new_capacity(clock)
    async with capacity:
        first = asyncio.create_task(take(capacity))
        await asyncio.sleep(0)
        clock.seconds += MAX_BURST_SECONDS * 1.01

        assert await refused_at_once(capacity)

    await first


async def test_a_crowd_lasts_while_places_are_taken_again_and_again() -> None:
    clock = Clock()
    capacity = new_capacity(clock)
    for _ in range(10):
        async with capacity:
            assert await refused_at_once(capacity) == (clock.seconds > 1000)
        clock.seconds += CALM_SECONDS * 0.99


async def test_who_is_refused_because_enough_wait_is_of_the_crowd_too() -> None:
    clock = Clock()
    capacity = new_capacity(clock, max_waiting=1)
    async with capacity:
        waiting = asyncio.create_task(take(capacity))
        await asyncio.sleep(0)
        clock.seconds += CALM_SECONDS * 0.99
        assert await refused_at_once(capacity)
        waiting.cancel()
        await asyncio.wait([waiting])
        clock.seconds += CALM_SECONDS * 0.99

        assert await refused_at_once(capacity)


async def test_after_a_calm_a_burst_may_wait_again() -> None:
    clock = Clock()
    capacity = new_capacity(clock)
    async with capacity:
        assert not await refused_at_once(capacity)
        clock.seconds += CALM_SECONDS * 0.99
        assert await refused_at_once(capacity)
        clock.seconds += CALM_SECONDS * 1.01
        assert not await refused_at_once(capacity)
