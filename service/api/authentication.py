"""Who asks: from the `Authorization` header to an API key in force (contract 3.5)."""

import binascii
import hashlib
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic

from service.errors import Unauthorized
from service.store.keys import ApiKey

CHALLENGE = 'Basic realm="activity-service", Bearer realm="activity-service"'
_MAX_REMEMBERED = 10_000

GetKey = Callable[[str], Awaitable[ApiKey | None]]


class Authentication:
    """Asks the store for a key at most once in `max_age_seconds`, known or not.

    What is remembered is bounded, the least lately used is forgotten first, and it holds hashes,
    not keys. While MongoDB is away a remembered key is still believed until its time is over.
    """

    def __init__(
        self,
        get_key: GetKey,
        *,
        max_age_seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._get_key = get_key
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[float, ApiKey | None]] = OrderedDict()

    async def authenticate(self, header: str | None) -> ApiKey:
        """Raises `Unauthorized`, `StoreUnavailable`, `StoreTimeout`."""
        if header is None:
            raise Unauthorized("An API key is needed: Authorization: Basic base64(KEY:)")
        key = await self._get(parse_authorization(header))
        if key is None:
            raise Unauthorized("The API key is not known.")
        return key

    async def _get(self, text: str) -> ApiKey | None:
        digest = hashlib.sha256(text.encode()).digest()
        # Taken before the store is asked: its answer may be as old as this.
        now = self._clock()
        expires_at, key = self._remembered.get(digest, (now, None))
        if expires_at <= now:
            key = await self._get_key(text)
            self._remembered[digest] = (now + self._max_age_seconds, key)
            if len(self._remembered) > _MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(digest)
        return key


def parse_authorization(header: str) -> str:
    """The key in `Basic base64(KEY:)` or `Bearer KEY`. Raises `Unauthorized`."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        return _printable(credentials.strip())
    if scheme.lower() != "basic":
        raise Unauthorized("Authorization takes Basic or Bearer.")
    try:
        user, _, password = b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthorized("Basic authorization takes base64(KEY:).") from None
    if password:
        raise Unauthorized("The API key is the user name; the password stays empty.")
    return _printable(user)


def _printable(key: str) -> str:
    """Headers are bytes: what is not text cannot be a key, nor be hashed."""
    if not key.isascii():
        raise Unauthorized("The API key is not known.")
    return key
