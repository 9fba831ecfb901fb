"""Documents to the JSON that the API shows (contract 3.2, 3.3), within the bytes a page may have.

`orjson` prints a naive UTC `datetime` as the contract wants it. `_id` and `_meta` never get here:
every projection leaves them out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from service.activities.base import Activity
from service.activities.threads import to_preview
from service.errors import InvalidRequest
from service.listing.query import Fields, Page, Query
from service.store.plans import EMAIL, THREAD
from service.store.threads import THREAD_SUFFIX

_BASE_KEYS = tuple(field.alias or name for name, field in Activity.model_fields.items())
_ENVELOPE_BYTES = len(b'{"has_more":false,"data":[]}')
_COMMA_BYTES = 1


def to_json(content: Any) -> bytes:
    """JSON, date-times as `2026-01-02T10:00:00.001000+00:00`."""
    return orjson.dumps(content, option=orjson.OPT_NAIVE_UTC)


def render_page(page: Page) -> bytes:
    """The body of a listing's answer, for which its rows are copied once."""
    opening = b'{"has_more":true,"data":[' if page.has_more else b'{"has_more":false,"data":['
    return b"".join([opening, *_separated(page.rows), b"]}"])


def _separated(rows: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    for place, piece in enumerate(rows):
        if place:
            yield b","
        yield piece


def to_row(
    document: dict[str, Any], *, fields: Fields | None, strips_emails: bool
) -> dict[str, Any]:
    """What the API shows of a document. Takes the document over."""
    if document["_type"] == THREAD:
        document["id"] = document["id"].removesuffix(THREAD_SUFFIX)
    elif strips_emails and document["_type"] == EMAIL:
        document = _to_stripped(document)
    if fields is None or fields.everything:
        return document
    return {name: value for name, value in document.items() if name in fields.names}


class RowRenderer:
    """Renders the rows of one page while they arrive, so that no more is held than is sent."""

    def __init__(self, query: Query, max_bytes: int) -> None:
        self._fields = query.fields
        self._strips_emails = query.strips_emails
        self._shows_as_stored = (
            THREAD not in query.types
            and not query.strips_emails
            and (query.fields is None or query.fields.everything)
        )
        self._max_bytes = max_bytes
        self._bytes = _ENVELOPE_BYTES - _COMMA_BYTES

    def render(self, documents: list[dict[str, Any]]) -> memoryview:
        """One piece of a page: rows with commas between.

        Raises `InvalidRequest` as soon as the page is larger than it may be.
        """
        if not self._shows_as_stored:
            documents = [
                to_row(document, fields=self._fields, strips_emails=self._strips_emails)
                for document in documents
            ]
        piece = memoryview(to_json(documents))[1:-1]
        self._bytes += len(piece) + _COMMA_BYTES
        if self._bytes > self._max_bytes:
            raise InvalidRequest(
                f"_limit: these rows are more than the {self._max_bytes} bytes that a page may"
                " have; a lower _limit is accepted, or fewer _fields.",
                parameter="_limit",
            )
        return piece


class ThreadRenderer:
    """Renders a single thread with as many of its emails, newest first, as fit."""

    def __init__(self, row: dict[str, Any], max_bytes: int) -> None:
        self._row = row
        self._emails: list[bytes] = []
        self._free_bytes = max_bytes - len(to_json({**row, "emails": []})) + _COMMA_BYTES

    def add(self, email: dict[str, Any]) -> bool:
        """Answers False, and leaves this one out, when it does not fit any more."""
        rendered = to_json(email)
        self._free_bytes -= len(rendered) + _COMMA_BYTES
        if self._free_bytes < 0:
            return False
        self._emails.append(rendered)
        return True

    def finish(self) -> bytes:
        emails = orjson.Fragment(b"[%b]" % b",".join(self._emails))
        return to_json({**self._row, "emails": emails})


def _to_stripped(email: Mapping[str, Any]) -> dict[str, Any]:
    """The base keys plus the EmailPreview keys (contract 3.3)."""
    return {key: email[key] for key in _BASE_KEYS if key in email} | to_preview(email)
