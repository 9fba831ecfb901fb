"""Who follows a listing, and the audience that followers of one listing are."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time
from typing import Literal

from service.api.event_stream import to_event
from service.api.followed import Change, Followed, in_parts, merge
from service.listing.event_ids import EventIds, Place
from service.observability import EVENTS_PUSHED, FOLLOW_LAG_SECONDS, FOLLOWERS_CLOSED
from service.store.feed import ChangedRow

# Events that a reader has not taken; above, it is closed before it is given more.
MAX_BEHIND_BYTES = 256 * 1024
# Changes of so long are told together, but for the first after a pause.
GATHER_SECONDS = 0.05

logger = logging.getLogger(__name__)

Cause = Literal["client", "slow", "shutdown", "revoked", "lost", "failed"]


class Follower:
    """One connection: the events that wait for it, and why it ends."""

    __slots__ = ("_abort", "_bytes", "_changed", "_events", "_unsent", "cause", "key_id")

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.cause: Cause | None = None
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None
        self._unsent: Callable[[], int] = int
        self._abort: Callable[[], None] | None = None

    def attach(self, unsent: Callable[[], int], abort: Callable[[], None]) -> None:
        """The connection: how many bytes it has not sent, and how it is cut."""
        self._unsent, self._abort = unsent, abort

    def push(self, events: bytes) -> None:
        """Give it more, unless it has not taken what it was given."""
        if self.cause is not None:
            return
        if self._bytes + self._unsent() > MAX_BEHIND_BYTES:
            self.end("slow")
            if self._abort is not None:
                self._abort()
            return
        self._events.append(events)
        self._bytes += len(events)
        self._wake()

    @property
    def has_more(self) -> bool:
        """Whether events wait for it."""
        return bool(self._events)

    def end(self, cause: Cause) -> None:
        if self.cause is None:
            self.cause = cause
            FOLLOWERS_CLOSED.labels(cause).inc()
            self._wake()

    async def next(self, seconds: float) -> bytes:
        """The next events; nothing where none come within `seconds`, or it has ended."""
        if not self._events and self.cause is None:
            loop = asyncio.get_running_loop()
            changed = self._changed = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await changed
            finally:
                timer.cancel()
                self._changed = None
        if not self._events or self.cause is not None:
            return b""
        events = self._events.popleft()
        self._bytes -= len(events)
        return events

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class Audience:
    """The followers of one listing. What the feed says of it is judged once for all of them, one
    judgement after the other, so that a later one is never overtaken by an older one."""

    def __init__(
        self,
        followed: Followed,
        ids: EventIds,
        judge: Callable[[Followed, Sequence[ChangedRow]], Awaitable[list[Change]]],
        newest: Callable[[], Place],
    ) -> None:
        self.followed = followed
        self.followers: set[Follower] = set()
        self._ids = ids
        self._judge = judge
        self._newest = newest
        self._pending: list[ChangedRow] = []
        self._told = newest()
        self._oldest = 0.0
        self._judged_at = -GATHER_SECONDS
        self._work: asyncio.Task[None] | None = None

    @property
    def place(self) -> Place:
        """Everything before it has been told."""
        return self._newest() if self._work is None else self._told

    def to_id(self, place: Place) -> bytes:
        return self._ids.encode(self.followed.bound, place).encode()

    def to_live(self, place: Place) -> bytes:
        return to_event(b"live", self.to_id(place), b"{}")

    def tell(self, row: ChangedRow, written: float) -> None:
        """A row of the feed that is within its scopes, behind the newest place; `written` is when
        its document was (Unix seconds)."""
        if not self.followed.concerns(row):
            return
        if self._work is None:
            self._told, self._oldest = self._newest(), written
            self._work = asyncio.create_task(self._tell_all(), name="tell an audience")
        self._pending.append(row)

    def close(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _tell_all(self) -> None:
        try:
            await self._tell_pending()
        except Exception as error:
            logger.error("an audience is not told any more", exc_info=error)
            for follower in self.followers:
                follower.end("failed")
        finally:
            self._work = None

    async def _tell_pending(self) -> None:
        while self._pending:
            await asyncio.sleep(max(0.0, self._judged_at + GATHER_SECONDS - monotonic()))
            pending, self._pending = self._pending, []
            until = self._newest()
            await self._tell_these(list(in_parts(merge(pending).values())), until)
            FOLLOW_LAG_SECONDS.observe(max(0.0, time() - self._oldest))
            self._told, self._oldest = until, time()
            self._judged_at = monotonic()

    async def _tell_these(self, parts: Sequence[Sequence[ChangedRow]], until: Place) -> None:
        """Only the last event says that all has been told: who loses its connection before it is told
        the others again."""
        so_far = self.to_id(self._told)
        for number, part in enumerate(parts, 1):
            changes = await self._judge(self.followed, part)
            last = self.to_id(until) if number == len(parts) else so_far
            if changes:
                self._push(to_events(changes, so_far, last), len(changes))

    def _push(self, events: bytes, count: int) -> None:
        EVENTS_PUSHED.inc(count * len(self.followers))
        for follower in self.followers:
            follower.push(events)


def to_events(changes: Sequence[Change], so_far: bytes, last: bytes) -> bytes:
    """The events of these changes: all but the last with the id of what was told before them."""
    *others, final = changes
    events = [to_event(name, so_far, data) for name, data in others]
    return b"".join([*events, to_event(final.name, last, final.data)])
