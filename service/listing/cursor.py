"""Cursors: the place between two rows of one query, opaque and signed (contract 3.4)."""

from hashlib import sha256
from hmac import compare_digest

import orjson
from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from service.errors import InvalidRequest
from service.listing.query import Cursor, Query

# Raised when the payload or what is bound changes its form; older cursors are then refused.
VERSION = 2
MAX_CURSOR_CHARACTERS = 512


class Cursors:
    """Encodes and decodes the cursors of every process that has the same secret."""

    def __init__(self, secret: str) -> None:
        # Nothing else is signed with this secret, so no key need be derived from it each time.
        self._signer = Signer(secret, key_derivation="none", digest_method=sha256)

    def encode(self, query: Query, cursor: Cursor) -> str:
        """The cursor of this place, of use with this query only."""
        payload = base64_encode(orjson.dumps([cursor.time, cursor.id]))
        return f"{payload.decode()}.{self._sign(query, payload)}"

    def decode(self, text: str, query: Query) -> Cursor:
        """Raises `InvalidRequest` for whatever this class did not make for this very query."""
        if len(text) > MAX_CURSOR_CHARACTERS or not text.isascii():
            raise _refused()
        payload, _, signature = text.partition(".")
        if not compare_digest(signature, self._sign(query, payload.encode())):
            raise _refused()
        time, stored_id = orjson.loads(base64_decode(payload))
        return Cursor(time, stored_id)

    def _sign(self, query: Query, payload: bytes) -> str:
        """Over what the cursor is bound to, too: of another query it has a wrong signature."""
        return self._signer.get_signature(binding(query) + payload).decode()


def binding(query: Query) -> bytes:
    """Organization, filters and sort; `_limit` and `_fields` may change on the way.

    A JSON array ends where its bracket closes, so no payload behind it can pass for a part of it.
    """
    bound = [
        VERSION,
        query.organization_id,
        query.types,
        [query.sort.field, query.sort.descending],
        [query.bounds.lowest, query.bounds.highest],
        query.leads,
        query.ids,
        [[condition.field, sorted(condition.values)] for condition in query.conditions],
        None if query.only_custom_types is None else sorted(query.only_custom_types),
        query.strips_emails,
    ]
    return orjson.dumps(bound)


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "_cursor: one from a Link header is accepted, unchanged, with the filters and the sort"
        " that it came with.",
        parameter="_cursor",
    )
