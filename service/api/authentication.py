"""Who asks: from the `Authorization` header to an API key in force (contract 3.5).

Whether a key is good never waits behind queries (contract 3.6): what does not look like a key is
refused unasked, a known key is asked for again before its time is over and beside the requests that
believe it, and look-ups have a lane of their own, with turns that go round the addresses.
"""

import asyncio
import binascii
import hashlib
import logging
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from service.api.capacity import Lane
from service.api.rate_limits import Exceeded, RateLimits
from service.errors import Overloaded, StoreError, Unauthorized
from service.observability import REQUESTS_REFUSED
from service.store.keys import ApiKey, is_key

CHALLENGE = 'Basic realm="activity-service", Bearer realm="activity-service"'
MAX_KNOWN = 10_000
MAX_UNKNOWN = 1_000
# Of this share of its time a key is believed without a thought; then it is asked for again.
_FRESH_SHARE = 0.5
# An address that knows no key may find out as much so many times a second. Whoever goes on is
# answered late: in a closed loop that leaves the process to others.
UNKNOWN_KEYS_RATE = "10/second"
REFUSAL_SECONDS = 0.2
# The address of those whose key was known: they take their turns beside every other.
_KNOWN = ""

logger = logging.getLogger(__name__)

GetKey = Callable[[str], Awaitable[ApiKey | None]]


@dataclass(frozen=True, slots=True)
class Belief:
    """A key that was in force, when it should be asked for again, and until when it is believed."""

    key: ApiKey
    fresh_until: float
    expires_at: float


class Authentication:
    """Asks the store for a key at most once at a time, and believes it for `max_age_seconds`.

    What is remembered is bounded, the least lately used is forgotten first, and it holds hashes,
    not keys. Unknown keys are remembered apart: guesses push no good key out. While MongoDB is away
    a remembered key is still believed until its time is over.
    """

    def __init__(
        self,
        get_key: GetKey,
        lane: Lane,
        *,
        max_age_seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._get_key = get_key
        self._lane = lane
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._known: OrderedDict[bytes, Belief] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._lookups: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._failures = RateLimits(UNKNOWN_KEYS_RATE)

    async def authenticate(self, header: str | None, to_address: Callable[[], str]) -> ApiKey:
        """`to_address` says where the request comes from, and is asked for unknown keys alone.

        Raises `Unauthorized`, `Exceeded`, `Overloaded`, `StoreUnavailable`, `StoreTimeout`.
        """
        if header is None:
            raise Unauthorized("An API key is needed: Authorization: Basic base64(KEY:)")
        text = parse_authorization(header)
        if not is_key(text):
            raise _unknown()
        digest = hashlib.sha256(text.encode()).digest()
        now = self._clock()
        belief = self._known.get(digest)
        if belief is not None and now < belief.expires_at:
            self._known.move_to_end(digest)
            if now >= belief.fresh_until and digest not in self._lookups:
                self._look_up(digest, text, _KNOWN)
            return belief.key
        if self._unknown.get(digest, now) > now:
            raise _unknown()
        address = to_address() if belief is None else _KNOWN
        key = await self._join_lookup(digest, text, address)
        if key is None:
            raise _unknown()
        return key

    async def _join_lookup(self, digest: bytes, text: str, address: str) -> ApiKey | None:
        lookup = self._lookups.get(digest)
        if lookup is None:
            if address != _KNOWN:
                await self._require_good_faith(address)
            # Somebody else may have begun it meanwhile.
            lookup = self._lookups.get(digest) or self._look_up(digest, text, address)
        # Whoever hangs up leaves the answer to those who wait for it, too.
        return await asyncio.shield(lookup)

    async def _require_good_faith(self, address: str) -> None:
        allowance = self._failures.look(address)
        if allowance is not None and not allowance.remaining:
            REQUESTS_REFUSED.labels("unknown_keys").inc()
            await asyncio.sleep(REFUSAL_SECONDS)
            raise Exceeded(
                "Too many unknown API keys come from this address.", allowance, "address"
            )

    def _look_up(self, digest: bytes, text: str, address: str) -> asyncio.Task[ApiKey | None]:
        lookup = asyncio.create_task(self._ask(digest, text, address), name="look a key up")
        self._lookups[digest] = lookup
        lookup.add_done_callback(partial(self._end_lookup, digest))
        return lookup

    def _end_lookup(self, digest: bytes, lookup: asyncio.Task[ApiKey | None]) -> None:
        """One that failed is told to whoever waits; where nobody does, the next request asks again."""
        del self._lookups[digest]
        error = None if lookup.cancelled() else lookup.exception()
        if error is not None and not isinstance(error, StoreError | Overloaded):
            logger.error("a key could not be looked up", exc_info=error)

    async def _ask(self, digest: bytes, text: str, address: str) -> ApiKey | None:
        async with self._lane.turn(address):
            # Taken before the store is asked: its answer may be as old as this.
            now = self._clock()
            key = await self._get_key(text)
        if key is None:
            self._known.pop(digest, None)
            self._unknown[digest] = now + self._max_age_seconds
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            if address != _KNOWN:
                self._failures.take(address)
        else:
            self._unknown.pop(digest, None)
            age = self._max_age_seconds
            self._known[digest] = Belief(key, now + age * _FRESH_SHARE, now + age)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return key


def parse_authorization(header: str) -> str:
    """The key in `Basic base64(KEY:)` or `Bearer KEY`. Raises `Unauthorized`."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        raise Unauthorized("Authorization takes Basic or Bearer.")
    try:
        user, _, password = b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthorized("Basic authorization takes base64(KEY:).") from None
    if password:
        raise Unauthorized("The API key is the user name; the password stays empty.")
    return user


def _unknown() -> Unauthorized:
    return Unauthorized("The API key is not known.")
