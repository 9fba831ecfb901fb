"""Answers on their way to their clients, who may be slow to take them.

An answer gives its place in `capacity` back when it is made: whoever takes it slowly keeps nobody
else from being answered. But it stays in memory until it is taken. So large ones are counted, by
key, from the moment they exist until their last byte has gone (contract 3.6, "Over capacity").
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from operator import methodcaller
from time import monotonic

from aiohttp import web

from service.errors import Overloaded
from service.observability import BYTES_UNSENT, CONNECTIONS_CLOSED, REQUESTS_REFUSED

# A client behind a proxy takes the largest page at once, one at 5 Mbit/s in time.
MAX_SEND_SECONDS = 60.0
# What a connection that has sent everything takes over without waiting for its client.
SMALL_BYTES = 64 * 1024
# Answers of such a size are made in a lane of their own, where it is known beforehand.
LARGE_BYTES = 1024 * 1024
# Before that nobody can tell how fast a client reads.
_MIN_JUDGED_SECONDS = 2.0
_MAX_REMEMBERED = 1_000

Clock = Callable[[], float]


class Parcel:
    """One answer: the key it is for, its bytes, and once it is being sent its connection."""

    def __init__(self, outbox: "Outbox", key: str, size: int) -> None:
        self.key = key
        self.size = size
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._sent_since = 0.0

    def resize(self, size: int) -> None:
        """It was compressed."""
        self._outbox.count(self.key, size - self.size)
        self.size = size

    def send(self, transport: asyncio.Transport) -> None:
        self._transport, self._sent_since = transport, self._outbox.clock()

    def leave(self) -> None:
        """It was taken, or never will be; may be called again."""
        self._outbox.drop(self)

    def abort(self) -> None:
        """Close its connection: the bytes are free at once."""
        if self._transport is not None:
            CONNECTIONS_CLOSED.labels("unread").inc()
            self._transport.abort()
        self.leave()

    @property
    def is_sent(self) -> bool:
        """Whether it is on its way, so that its connection may be closed."""
        return self._transport is not None

    def pace(self, now: float) -> float:
        """Bytes a second that its client has taken."""
        if self._transport is None:
            return 0.0
        taken = self.size - self._transport.get_write_buffer_size()
        return max(0, taken) / max(now - self._sent_since, 1e-3)

    def is_too_slow(self, now: float) -> bool:
        """At this pace it would not be taken in time."""
        is_judged = self._transport is not None and now - self._sent_since >= _MIN_JUDGED_SECONDS
        return is_judged and self.pace(now) * MAX_SEND_SECONDS < self.size


class Outbox:
    """The large answers of all clients: at most `max_bytes`, half of them for one key.

    A key that has its share waits for its clients to take some (`admits`); those that are too slow
    to take theirs in time lose their connections. A large answer that is not let in has no room and
    is refused. Where all is full, the slowest connection of the key that has most is closed. A key
    that has nothing here always gets its answer.
    """

    def __init__(self, max_bytes: int, clock: Clock = monotonic) -> None:
        self._max_bytes = max_bytes
        self.clock = clock
        self._parcels: dict[str, set[Parcel]] = {}
        self._bytes: dict[str, int] = {}
        self._total = 0
        # Of listings whose last answers were large ones, by key and what was asked for.
        self._usual_bytes: OrderedDict[tuple[str, Hashable], int] = OrderedDict()
        self._on_room: Callable[[], None] = lambda: None
        BYTES_UNSENT.set_function(lambda: self._total)

    def tell_of_room(self, call: Callable[[], None]) -> None:
        """`call` whenever an answer has left."""
        self._on_room = call

    @property
    def knows_large(self) -> bool:
        """Whether anything is known to be large, so that it is worth asking."""
        return bool(self._usual_bytes)

    def is_large(self, key: str, listing: Hashable) -> bool:
        """Whether the last answers that this key got to this question were large ones."""
        return (key, listing) in self._usual_bytes

    def admits(self, key: str) -> bool:
        """Whether the key has room left, so that it may begin what is not known to be large."""
        return self._make_room(key, 0)

    def admits_large(self, key: str) -> bool:
        """Whether there is room for one more answer as large as this key usually gets."""
        sizes = [size for (whose, _), size in self._usual_bytes.items() if whose == key]
        return self._make_room(key, max(sizes, default=0))

    def learn(self, key: str, listing: Hashable, size: int) -> None:
        """How large an answer was. Half of it counts the next time, and half of that then."""
        usual = max(size, self._usual_bytes.pop((key, listing), 0) // 2)
        if usual > LARGE_BYTES:
            self._usual_bytes[key, listing] = usual
        if len(self._usual_bytes) > _MAX_REMEMBERED:
            self._usual_bytes.popitem(last=False)

    def take(self, key: str, size: int) -> Parcel:
        """Count an answer that has just been made. Raises `Overloaded` where it is a large one and
        there is no room."""
        if not self._make_room(key, size) and size > LARGE_BYTES:
            REQUESTS_REFUSED.labels("unread").inc()
            raise Overloaded("Too many large answers wait for clients with this key to read them.")
        parcel = Parcel(self, key, size)
        self._parcels.setdefault(key, set()).add(parcel)
        self.count(key, size)
        return parcel

    def count(self, key: str, size: int) -> None:
        self._bytes[key] = self._bytes.get(key, 0) + size
        self._total += size

    def drop(self, parcel: Parcel) -> None:
        parcels = self._parcels.get(parcel.key, set())
        if parcel not in parcels:
            return
        parcels.remove(parcel)
        self.count(parcel.key, -parcel.size)
        if not parcels:
            del self._parcels[parcel.key], self._bytes[parcel.key]
        # Not from in here: whoever is let in may want room made, too.
        asyncio.get_running_loop().call_soon(self._on_room)

    def _make_room(self, key: str, size: int) -> bool:
        share = self._max_bytes // 2
        held = self._bytes.get(key, 0)
        if held + size > share:
            self._close_too_slow(key, held + size - share)
            held = self._bytes.get(key, 0)
            if held and held + size > share:
                return False
        if self._total + size > self._max_bytes:
            return self._close_slowest(size) or not held
        return True

    def _close_too_slow(self, key: str, missing: int) -> None:
        """Make so much room among this key's answers, at the cost of those that are lost anyway."""
        now = self.clock()
        for parcel in self._slowest(key, now):
            if missing > 0 and parcel.is_too_slow(now):
                missing -= parcel.size
                parcel.abort()

    def _close_slowest(self, size: int) -> bool:
        """Make so much room among all, at the cost of whoever holds most."""
        while self._bytes and self._total + size > self._max_bytes:
            busiest = max(self._bytes, key=self._bytes.__getitem__)
            slowest = next(iter(self._slowest(busiest, self.clock())), None)
            if slowest is None:
                return False
            slowest.abort()
        return True

    def _slowest(self, key: str, now: float) -> list[Parcel]:
        """The answers of this key that are being sent, slowest first."""
        sent = [parcel for parcel in self._parcels.get(key, ()) if parcel.is_sent]
        return sorted(sent, key=methodcaller("pace", now))


class OutgoingResponse(web.Response):
    """A response that its client must take in time, or lose its connection. What `parcel` it has
    is in the outbox until `leave` is called."""

    def __init__(
        self, *, body: bytes, status: int, headers: Mapping[str, str], parcel: Parcel | None = None
    ) -> None:
        super().__init__(body=body, status=status, headers=headers)
        self._parcel = parcel

    def leave(self) -> None:
        """It has been sent, or never will be."""
        if self._parcel is not None:
            self._parcel.leave()

    async def write_eof(self, data: bytes = b"") -> None:
        transport = None if self._req is None else self._req.transport
        if self._parcel is None or transport is None:
            return await super().write_eof(data)
        self._parcel.send(transport)
        try:
            async with asyncio.timeout(MAX_SEND_SECONDS):
                await super().write_eof(data)
        except TimeoutError:
            CONNECTIONS_CLOSED.labels("unread").inc()
            transport.abort()
            raise ConnectionResetError("the client does not take its answer") from None
        return None
