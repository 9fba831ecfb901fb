"""Whose turn it is: how much is worked on at once, and for whom (contract 3.6, "Over capacity").

Each kind of work has a lane with places of its own. Where all of them are taken a request waits,
and a place that comes free goes to the next key in the round: a key's crowd waits for itself.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from service.errors import Overloaded
from service.observability import (
    BUSIEST_KEY_SHARE,
    PLACES,
    REQUESTS_IN_FLIGHT,
    REQUESTS_REFUSED,
    REQUESTS_WAITING,
    WAIT_SECONDS,
)

# Few enough that a newcomer's own work is a good part of what the event loop has to do, enough to
# keep it busy while MongoDB answers.
FEWEST_PLACES = 8
# How often the event loop's delay is looked at, while somebody waits.
TICK_SECONDS = 0.01
# Above the first the event loop is what limits, and more at once would only be slower; below the
# second it is not. A timer of the loop is late by one millisecond even where nothing happens.
LONG_DELAY_SECONDS = 0.004
SHORT_DELAY_SECONDS = 0.002
# An estimate of what a wait will be may be short by a quarter: whoever is taken on is served in time.
SURE_SHARE = 0.75
# So long waits who would wait for too long: it may come otherwise, and clients that ask again as soon
# as they are refused would leave the process no time for anybody else.
DOUBTFUL_SECONDS = 0.1

Admits = Callable[[str], bool]


class Places:
    """How many requests of a lane are worked on at once: at least one, between two numbers, by what
    limits.

    One more at each look while the event loop is idle enough to take more on (it is MongoDB that
    takes its time), a quarter less where its own delay shows that it is not.
    """

    def __init__(self, fewest: int, most: int) -> None:
        self._fewest, self._most = max(1, min(fewest, most)), max(1, most)
        self.now = self._fewest

    def follow(self, delay_seconds: float) -> None:
        if delay_seconds > LONG_DELAY_SECONDS:
            self.now = max(self._fewest, self.now * 3 // 4)
        elif delay_seconds < SHORT_DELAY_SECONDS:
            self.now = min(self._most, self.now + 1)


class Pace:
    """How many turns a second are given while somebody waits: of the last second or two, so that
    one pause is not taken for the rule. A crowd's first moments are not counted: to take it in is
    work of its own."""

    WARM_UP_SECONDS = 0.25
    WINDOW_SECONDS = 1.0
    MIN_SECONDS = 0.25
    MIN_COUNT = 20

    def __init__(self, now: float) -> None:
        self._began = self._window_began = now + self.WARM_UP_SECONDS
        self._count = self._count_before = 0

    def count(self, now: float) -> None:
        self._turn_over(now)
        self._count += now >= self._began

    def per_second(self, now: float) -> float | None:
        """None while too little was seen to tell."""
        self._turn_over(now)
        seconds, count = now - self._began, self._count + self._count_before
        is_known = seconds >= self.MIN_SECONDS and count >= self.MIN_COUNT
        return count / seconds if is_known or seconds >= self.WINDOW_SECONDS else None

    def _turn_over(self, now: float) -> None:
        if now - self._window_began < self.WINDOW_SECONDS:
            return
        is_recent = now - self._window_began < 2 * self.WINDOW_SECONDS
        self._count_before = self._count if is_recent else 0
        self._began = self._window_began if is_recent else now - self.WINDOW_SECONDS
        self._window_began, self._count = now, 0


class Lane:
    """The places for one kind of work.

    `async with lane.turn(key)`: a place, at once or within `max_wait_seconds`, else `Overloaded`;
    soon `Overloaded` where it is plain that it would take longer. While others wait a key holds at
    most half of the places, and even alone it leaves one in eight to whoever comes.
    `admits` says whether a key may begin now for reasons of its own; call `look_again` when one
    has gone.
    """

    def __init__(
        self,
        name: str,
        places: Places,
        *,
        max_wait_seconds: float,
        admits: Admits = lambda _: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.places = places
        self.held: Counter[str] = Counter()
        self.in_use = 0
        self.waiting = 0
        self._max_wait_seconds = max_wait_seconds
        self._admits = admits
        self._clock = clock
        # By key, and the keys in the order of their turns.
        self._queues: dict[str, deque[asyncio.Future[bool]]] = {}
        self._pace: Pace | None = None
        self._look: asyncio.TimerHandle | None = None
        self._look_due = 0.0
        self._wait_seconds = WAIT_SECONDS.labels(name)

    def turn(self, key: str) -> "Turn":
        return Turn(self, key)

    async def take(self, key: str) -> None:
        """To be given back. Raises `Overloaded`."""
        if not self._queues and self._may_begin(key):
            self._begin(key)
            self._wait_seconds.observe(0)
            return
        began = self._clock()
        expected = self._expected_wait(key, began)
        is_doubtful = expected > SURE_SHARE * self._max_wait_seconds
        patience = min(DOUBTFUL_SECONDS, self._max_wait_seconds)
        is_given = await self._wait(key, patience if is_doubtful else self._max_wait_seconds)
        self._wait_seconds.observe(self._clock() - began)
        if not is_given:
            raise _refused(max(expected, self._expected_wait(key, self._clock())))

    def give_back(self, key: str) -> None:
        self.in_use -= 1
        self.held[key] -= 1
        if not self.held[key]:
            del self.held[key]
        self.look_again()

    def look_again(self) -> None:
        """Let begin what may. A key that has had its turn goes to the end of the round."""
        passed_over = 0
        while passed_over < len(self._queues) and self.in_use < self.places.now:
            key = next(iter(self._queues))
            queue = self._queues.pop(key)
            if self._may_begin(key):
                passed_over = 0
                self._give(key, queue.popleft())
            else:
                passed_over += 1
            if queue:
                self._queues[key] = queue
        if not self._queues:
            self._pace = None

    async def _wait(self, key: str, max_seconds: float) -> bool:
        """Whether the turn came in time."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._queues.setdefault(key, deque()).append(turn)
        if self._pace is None:
            self._pace = Pace(self._clock())
        self.waiting += 1
        timer = loop.call_later(max_seconds, self._give_up, key, turn)
        self._look_soon()
        self.look_again()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(key, turn)
            elif turn.result():
                self.give_back(key)
            raise
        finally:
            timer.cancel()
            self.waiting -= 1

    def _give(self, key: str, turn: asyncio.Future[bool]) -> None:
        if turn.done():
            return  # cancelled, and about to be forgotten
        self._begin(key)
        turn.set_result(True)
        if self._pace is not None:
            self._pace.count(self._clock())

    def _begin(self, key: str) -> None:
        self.in_use += 1
        self.held[key] += 1

    def _give_up(self, key: str, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._forget(key, turn)
            turn.set_result(False)

    def _forget(self, key: str, turn: asyncio.Future[bool]) -> None:
        queue = self._queues.get(key)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[key]
        if not self._queues:
            self._pace = None

    def _may_begin(self, key: str) -> bool:
        places = self.places.now
        if self.in_use >= places:
            return False
        others_wait = len(self._queues) > (key in self._queues)
        most = max(1, places // 2) if others_wait else max(1, places - math.ceil(places / 8))
        return self.held[key] < most and self._admits(key)

    def _expected_wait(self, key: str, now: float) -> float:
        """Seconds until one more request of this key would have its turn; 0 where nobody can tell."""
        pace = self._pace.per_second(now) if self._pace is not None else None
        if pace is None:
            return 0
        of_key = len(self._queues.get(key, ()))
        keys = len(self._queues) + (key not in self._queues)
        ahead = min(self.waiting, keys * (of_key + 1) - 1)
        return math.inf if not pace else (ahead + 1) / pace

    def _give_up_the_last(self) -> None:
        """Those who would wait too long are told now: the last ones of whoever has most of them."""
        now = self._clock()
        pace = self._pace.per_second(now) if self._pace is not None else None
        if pace is None:
            return
        surplus = sum(map(len, self._queues.values())) - math.ceil(pace * self._max_wait_seconds)
        for _ in range(surplus):
            key = max(self._queues, key=lambda key: len(self._queues[key]))
            self._give_up(key, self._queues[key][-1])

    # --- while somebody waits ---------------------------------------------------------------------
    def _look_soon(self) -> None:
        if self._look is None:
            self._look_due = self._clock() + TICK_SECONDS
            self._look = asyncio.get_running_loop().call_later(TICK_SECONDS, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self.places.follow(self._clock() - self._look_due)
        self.look_again()
        if self._queues:
            self._give_up_the_last()
            self._look_soon()


@dataclass(frozen=True, slots=True)
class Turn:
    """One place of a lane for one request."""

    lane: Lane
    key: str

    async def __aenter__(self) -> None:
        await self.lane.take(self.key)

    async def __aexit__(self, *_: object) -> None:
        self.lane.give_back(self.key)


class Capacity:
    """The lanes of one process, which share MongoDB's pool of `connections`.

    * `indexed`: what an index answers. Its places follow what limits, up to the pool.
    * `filtered`: what reads documents to leave them out, however many. An eighth of the pool.
    * `large`: what has lately made megabytes for a key. Two at once keep a core busy, and hold as
      much memory as ten answers.
    * `lookups`: keys that are not known yet, in turns by address. A sixteenth of the pool.
    """

    def __init__(
        self,
        connections: int,
        *,
        max_wait_seconds: float,
        admits: Admits = lambda _: True,
        admits_large: Admits = lambda _: True,
    ) -> None:
        def lane(name: str, fewest: int, most: int, admits: Admits) -> Lane:
            places = Places(fewest, most)
            return Lane(name, places, max_wait_seconds=max_wait_seconds, admits=admits)

        filtered, large, lookups = max(1, connections // 8), 2, max(1, connections // 16)
        most = connections - filtered - large - lookups
        self.indexed = lane("indexed", FEWEST_PLACES, most, admits)
        self.filtered = lane("filtered", filtered, filtered, admits)
        self.large = lane("large", large, large, admits_large)
        self.lookups = lane("lookups", lookups, lookups, lambda _: True)
        self._show(self.indexed, self.filtered, self.large, self.lookups)

    def look_again(self) -> None:
        """To be called when what was not admitted may be so now."""
        for lane in (self.indexed, self.filtered, self.large):
            lane.look_again()

    def _show(self, *lanes: Lane) -> None:
        REQUESTS_IN_FLIGHT.set_function(lambda: sum(lane.in_use for lane in lanes))
        REQUESTS_WAITING.set_function(lambda: sum(lane.waiting for lane in lanes))
        PLACES.set_function(lambda: self.indexed.places.now)
        BUSIEST_KEY_SHARE.set_function(lambda: _busiest_share(lanes[:-1]))


def _busiest_share(lanes: Iterable[Lane]) -> float:
    held: Counter[str] = Counter()
    for lane in lanes:
        held += lane.held
    return max(held.values(), default=0) / max(1, held.total())


def _refused(expected_seconds: float) -> Overloaded:
    REQUESTS_REFUSED.labels("wait").inc()
    seconds = 1 if math.isinf(expected_seconds) else max(1, math.ceil(expected_seconds))
    return Overloaded("The service is over capacity. Please ask again later.", seconds)
