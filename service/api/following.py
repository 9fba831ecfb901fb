"""Following: one stream of the feed a process, only while somebody follows (contract 3.7, design 9)."""

import asyncio
import logging
import math
import random
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC
from time import time

from service.api.feed_log import FeedLog
from service.api.followed import MAX_ROWS, Change, Followed, Judge, Scope, in_parts, merge
from service.api.followers import Audience, Follower, to_events
from service.api.shares import Shares
from service.errors import FeedLost, Overloaded, StoreError, StoreUnavailable
from service.listing.event_ids import EventIds, Place, gone
from service.observability import FEED_AGE_SECONDS, FEED_REACHES, FOLLOWERS
from service.store.feed import (
    ChangedRow,
    LogTime,
    Told,
    get_time,
    has_reached,
    reaches_back,
    reading,
    seconds_before,
    to_position,
    to_time,
)
from service.store.mongo import Mongo

# Who was away for less is served from memory, which is filled once for all: as after a restart, when
# many come again whose last ids are some seconds apart.
MAX_AWAY_SECONDS = 300
LOOK_BACK_SECONDS = 20
START_SECONDS = 5.0
LOOK_SECONDS = 600.0
MAX_EVALUATIONS = 4
MAX_CATCHING_UP = 4
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Following:
    """All followers of one process."""

    def __init__(self, mongo: Mongo, ids: EventIds, judge: Judge, *, max_followers: int) -> None:
        self._mongo = mongo
        self.ids = ids
        self._judge = judge
        self._max_followers = max_followers
        self._followers: set[Follower] = set()
        self._by_key: Counter[str] = Counter()
        self._audiences: dict[Followed, Audience] = {}
        self._followed: Counter[str] = Counter()  # audiences, by organization
        self._by_scope: defaultdict[Scope, set[Audience]] = defaultdict(set)
        self._evaluations = Shares(MAX_EVALUATIONS)
        self._catching_up = Shares(MAX_CATCHING_UP)
        self._log = FeedLog()
        self._stream: asyncio.Task[None] | None = None
        self._advanced = asyncio.Event()
        self._is_closing = False
        self._remembering = asyncio.Lock()
        self._empty_reads = 0
        FOLLOWERS.set_function(lambda: len(self._followers))
        FEED_AGE_SECONDS.set_function(self._age)

    @property
    def is_reading(self) -> bool:
        """Whether the feed is read: never while nobody follows."""
        return self._stream is not None

    def _age(self) -> float:
        return max(0.0, time() - self._log.place.time) if self._log.place.position else 0.0

    def admit(self, key_id: str) -> Follower:
        """A follower, to be dismissed again. Raises `Overloaded` where there are too many."""
        if self._is_closing:
            raise Overloaded("This process is about to end. Please come again.")
        mine = max(1, self._max_followers // 2)
        if len(self._followers) >= self._max_followers or self._by_key[key_id] >= mine:
            raise Overloaded("Too many listings are followed. Please come again later.")
        follower = Follower(key_id)
        self._followers.add(follower)
        self._by_key[key_id] += 1
        if self._stream is None:
            self._stream = asyncio.create_task(self._read(), name="read the feed")
            self._stream.add_done_callback(self._on_stream_done)
        return follower

    def dismiss(self, follower: Follower, followed: Followed) -> None:
        """It follows no more. With the last one nothing is read any more."""
        follower.end("client")
        self._followers.discard(follower)
        self._by_key[follower.key_id] -= 1
        if not self._by_key[follower.key_id]:
            del self._by_key[follower.key_id]
        audience = self._audiences.get(followed)
        if audience is not None and follower in audience.followers:
            audience.followers.remove(follower)
            if not audience.followers:
                self._forget(audience)
        if not self._followers and self._stream is not None:
            self._stream.cancel()
            self._stream = None
            self._log = FeedLog()

    def turn(self, name: str) -> AbstractAsyncContextManager[None]:
        """A place among the questions that are asked of MongoDB on account of followers, of which no
        key holds more than half."""
        return self._evaluations.of(name)

    def audience_of(self, followed: Followed) -> Audience:
        """Of a listing that somebody has joined."""
        return self._audiences[followed]

    async def join(self, follower: Follower, followed: Followed) -> tuple[Audience, Place]:
        """From the place that is answered on, whatever happens is pushed to the follower.

        Raises `StoreUnavailable`.
        """
        await self._wait(lambda: self._log.oldest is not None)
        audience = self._audiences.get(followed)
        if audience is None:
            audience = Audience(followed, self.ids, self.judge, lambda: self._log.place)
            self._audiences[followed] = audience
            self._followed[followed.query.organization_id] += 1
            for scope in followed.scopes:
                self._by_scope[scope].add(audience)
        audience.followers.add(follower)
        return audience, self._log.place

    async def catch_up(
        self, follower: Follower, followed: Followed, since: Place
    ) -> AsyncGenerator[bytes, None]:
        """The events behind `since`, in parts, until the follower has joined and nothing is missing.

        The first part, which may be empty, comes when it is known that nothing will be missing.
        Raises `Gone`, `StoreUnavailable`.
        """
        await self._wait(lambda: self._log.oldest is not None)
        await self._wait_for(await get_time(self._mongo))
        place = since
        while (missed := self._log.since(place.position)) is None or missed:
            if missed is None:
                if time() - place.time < MAX_AWAY_SECONDS:
                    await self._remember(place.position)
                if self._log.reaches(place.position):
                    continue
                async with self._catching_up.of(follower.key_id):
                    async for reached, events in self._catch_up_alone(followed, place):
                        yield events
                        place = reached
                continue
            yield b""
            async for reached, events in self._catch_up_from(followed, place, missed):
                yield events
                place = reached
        # Nothing is awaited between the last look and this: what is told from here on is pushed.
        audience, newest = await self.join(follower, followed)
        yield b""
        yield audience.to_live(max(newest, place))

    async def judge(self, followed: Followed, rows: Sequence[ChangedRow]) -> list[Change]:
        """As long as MongoDB is away, it is asked again: nothing is told before it answers."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self.turn(followed.query.organization_id):
                    return await self._judge.judge(followed, rows)
            except StoreError as error:
                logger.warning("followers wait: %s", error)
            await asyncio.sleep(_jittered(pause))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def close(self, seconds: float) -> None:
        """End all followers within this time, one after the other in no order of theirs, so that they
        do not all come to the next process at once. Nobody is admitted any more."""
        self._is_closing = True
        followers = list(self._followers)
        random.shuffle(followers)
        for follower in followers:
            follower.end("shutdown")
            await asyncio.sleep(seconds / len(followers))

    async def _remember(self, position: bytes) -> None:
        """Read what lies between a position and what is remembered, where that is not too much. One
        reads for all who wait."""
        async with self._remembering:
            known = self._log.oldest
            if known is None or known <= position:
                return
            since = seconds_before(to_time(position), LOOK_BACK_SECONDS)
            missing: list[tuple[Place, Told]] = []
            with suppress(FeedLost):
                async with reading(self._mongo, since=since) as reader:
                    before, position = b"-", b""
                    # Where it has come to the end, MongoDB tells no newer position.
                    while position < known and position != before:
                        told, before = await reader.read(), position
                        position = reader.position or b""
                        if told is not None:
                            missing.append((Place(position, _to_time(told)), told))
                        if self._log.oldest != known or not self._log.has_room(missing):
                            return
                    self._log.prepend(to_position(since), missing)

    async def _catch_up_from(
        self, followed: Followed, place: Place, missed: Sequence[tuple[Place, Told]]
    ) -> AsyncGenerator[tuple[Place, bytes], None]:
        """By what the process remembers, which lies behind `place`."""
        rows: list[ChangedRow] = []
        for number, (reached, told) in enumerate(missed, 1):
            rows += _concerning(followed, told)
            if len(rows) >= MAX_ROWS or number == len(missed):
                yield reached, await self._tell(followed, rows, place, reached)
                place, rows = reached, []

    async def _catch_up_alone(
        self, followed: Followed, since: Place
    ) -> AsyncGenerator[tuple[Place, bytes], None]:
        """By a stream of its own, until the process remembers the rest."""
        place = since
        rows: list[ChangedRow] = []
        try:
            async with reading(self._mongo, after=since.position) as reader:
                while not self._log.reaches(place.position):
                    known, before = self._log.oldest or b"", reader.position
                    told = await reader.read()
                    yield place, b""
                    rows += _concerning(followed, told) if told else ()
                    position = reader.position or place.position
                    if told is None and position == before:
                        # It has come to the end, of which MongoDB tells no newer position.
                        position = max(position, known)
                    is_near = told is None or self._log.reaches(position)
                    if is_near or len(rows) >= MAX_ROWS:
                        reached = Place(position, _to_time(told))
                        yield reached, await self._tell(followed, rows, place, reached)
                        place, rows = reached, []
        except FeedLost:
            raise gone() from None

    async def _tell(
        self, followed: Followed, rows: Sequence[ChangedRow], before: Place, behind: Place
    ) -> bytes:
        """The events of these rows, which lie between two places."""
        changes: list[Change] = []
        for part in in_parts(merge(rows).values()):
            changes += await self.judge(followed, part)
        if not changes:
            return b""
        so_far, last = (self.ids.encode(followed.bound, one).encode() for one in (before, behind))
        return to_events(changes, so_far, last)

    async def _read(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_feed(), name="read the feed")
            tasks.create_task(self._look_back(), name="see how far the feed reaches")

    async def _look_back(self) -> None:
        while True:
            with suppress(StoreError):
                reaches = await reaches_back(self._mongo, int(self.ids.max_age_seconds))
                FEED_REACHES.set(math.nan if reaches is None else reaches)
            await asyncio.sleep(LOOK_SECONDS)

    async def _read_feed(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                after = self._log.place.position or None
                async with reading(self._mongo, after=after) as reader:
                    self._take(reader.position, None)
                    while True:
                        told = await reader.read()
                        self._take(reader.position, told)
                        pause = FIRST_PAUSE_SECONDS
            except FeedLost as error:
                self._lose(error)
            except StoreUnavailable as error:
                logger.warning("the feed cannot be read: %s", error)
            await asyncio.sleep(_jittered(pause))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _take(self, position: bytes | None, told: Told | None) -> None:
        """What was read, before anything else is."""
        if position is None:
            return
        if told is not None:
            written = _to_time(told)
            for organization_id in told.texts.keys() & self._followed.keys():
                for row in told.rows(organization_id):
                    for audience in self._concerned(row):
                        audience.tell(row, written)
        self._log.add(Place(position, int(time())), told)
        self._empty_reads += told is None
        self._advanced.set()
        self._advanced = asyncio.Event()

    def _concerned(self, row: ChangedRow) -> set[Audience]:
        scopes: list[Scope] = [(row.organization_id, lead) for lead in (None, *row.leads)]
        return set().union(*(self._by_scope[one] for one in scopes if one in self._by_scope))

    def _lose(self, error: FeedLost) -> None:
        """What happened since is not to be had: whoever follows must begin anew."""
        logger.error("followers must begin anew: %s", error)
        for follower in self._followers:
            follower.end("lost")
        self._log = FeedLog()

    def _on_stream_done(self, stream: asyncio.Task[None]) -> None:
        if stream.cancelled() or (error := stream.exception()) is None:
            return
        logger.error("the feed is not read any more", exc_info=error)
        self._stream = None
        self._log = FeedLog()
        for follower in self._followers:
            follower.end("failed")

    def _forget(self, audience: Audience) -> None:
        audience.close()
        del self._audiences[audience.followed]
        organization_id = audience.followed.query.organization_id
        self._followed[organization_id] -= 1
        if not self._followed[organization_id]:
            del self._followed[organization_id]
        for scope in audience.followed.scopes:
            self._by_scope[scope].discard(audience)
            if not self._by_scope[scope]:
                del self._by_scope[scope]

    async def _wait_for(self, now: LogTime) -> None:
        """Until all was read that had happened by now. Where nothing comes, no newer position is told
        for some seconds; of two reads without anything, the second has begun after now."""
        enough = self._empty_reads + 2
        await self._wait(
            lambda: has_reached(self._log.place.position, now) or self._empty_reads >= enough
        )

    async def _wait(self, holds: Callable[[], bool]) -> None:
        """Until the feed was read so far. Raises `StoreUnavailable` where that takes too long."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while not holds():
                    await self._advanced.wait()
        except TimeoutError:
            raise StoreUnavailable("the feed cannot be read now") from None


def _concerning(followed: Followed, told: Told) -> list[ChangedRow]:
    """The rows that this listing may list, or may have listed."""
    organization_id, scopes = followed.query.organization_id, {*followed.scopes}
    return [
        row
        for row in told.rows(organization_id)
        if any((organization_id, lead) in scopes for lead in (None, *row.leads))
        and followed.concerns(row)
    ]


def _to_time(told: Told | None) -> int:
    return int(time() if told is None else told.written_at.replace(tzinfo=UTC).timestamp())


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 no secret
