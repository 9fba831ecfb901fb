"""Ids of events: how far a follower has come, opaque and signed (contract 3.7)."""

import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

import orjson
from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from service.errors import Gone, InvalidRequest
from service.listing.cursor import binding
from service.listing.query import Query

# Raised when the payload or what is bound changes its form; older ids are then refused.
VERSION = 1
MAX_ID_CHARACTERS = 1024
_TIME_BYTES = 5


class Place(NamedTuple):
    """A place in the feed, in the store's own form, and when it was the newest (Unix seconds)."""

    position: bytes
    time: int


class EventIds:
    """Encodes and decodes the ids of every process that has the same secret."""

    def __init__(
        self, secret: str, max_age_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._signer = Signer(secret, key_derivation="none", digest_method=sha256)
        self.max_age_seconds = max_age_seconds
        self._clock = clock

    def encode(self, bound: bytes, place: Place) -> str:
        """The id of `place`, of use where the same is bound."""
        payload = base64_encode(place.time.to_bytes(_TIME_BYTES, "big") + place.position)
        return f"{payload.decode()}.{self._sign(bound, payload)}"

    def decode(self, text: str, bound: bytes) -> Place:
        """Raises `InvalidRequest` for whatever this class did not make for this very listing, and
        `Gone` where it is too old."""
        if len(text) > MAX_ID_CHARACTERS or not text.isascii():
            raise _refused()
        payload, _, signature = text.partition(".")
        if not compare_digest(signature, self._sign(bound, payload.encode())):
            raise _refused()
        content = base64_decode(payload)
        place = Place(content[_TIME_BYTES:], int.from_bytes(content[:_TIME_BYTES], "big"))
        if place.time < self._clock() - self.max_age_seconds:
            raise gone()
        return place

    def _sign(self, bound: bytes, payload: bytes) -> str:
        return self._signer.get_signature(bound + payload).decode()


def to_bound(path: str, query: Query) -> bytes:
    """What an id is bound to: organization, path, filters, mode and sort. `_limit` and `_fields` may
    change, and no cursor can pass for an id."""
    head: bytes = orjson.dumps(["event", VERSION, path])
    return head + binding(query)


def gone() -> Gone:
    return Gone(
        "Last-Event-ID: what has happened since is not kept any more. Begin anew, without it: the"
        " first event is the page as it is now."
    )


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "Last-Event-ID: the id of an event is accepted, unchanged, with the path and the parameters"
        " that it came with.",
        parameter="Last-Event-ID",
    )
