"""Documents to the JSON that the API shows (contract 3.2, 3.3), within the bytes a page may have.

Documents travel from MongoDB to the client as bytes: BSON becomes JSON (`transcoding`), and nothing
in between is built of them but stripped emails. `_id` and `_meta` never get here: every projection
leaves them out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson import decode, encode
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from service.activities.base import Activity
from service.activities.threads import to_preview
from service.activities.types import EMAIL
from service.bson.transcoding import Documents, Place, Row, Rows, Transcoder
from service.errors import InvalidRequest
from service.listing.query import Fields, Page, Query, SortField
from service.store import extended_json
from service.store.ids import THREAD_SUFFIX

_BASE_KEYS = tuple(field.alias or name for name, field in Activity.model_fields.items())
_ENVELOPE_BYTES = len(b'{"has_more":false,"data":[]}')
_EMAILS = b'"emails":['
_COMMA_BYTES = 1
_RAW = CodecOptions(document_class=RawBSONDocument)


def to_transcoder(
    organization_id: str,
    time_field: SortField = "date_created",
    fields: Fields | None = None,
) -> Transcoder:
    """What shows documents as the API does. No id but a thread's can end as a thread's does."""
    names = None if fields is None or fields.everything else fields.names

    def show_odd(document: bytes) -> tuple[bytes, Place]:
        row, place = extended_json.to_row(
            document, time_field=time_field, id_suffix=THREAD_SUFFIX, names=names
        )
        extended_json.tell(organization_id, place.id)
        return row, place

    return Transcoder(
        time_field=time_field, id_suffix=THREAD_SUFFIX, names=names, show_odd=show_odd
    )


def render_page(page: Page) -> bytes:
    """The body of a listing's answer, for which its rows are copied once."""
    opening = b'{"has_more":true,"data":[' if page.has_more else b'{"has_more":false,"data":['
    return b"".join([opening, *_separated(page.rows), b"]}"])


def _separated(rows: Sequence[bytearray]) -> Iterator[bytes | bytearray]:
    for place, piece in enumerate(rows):
        if place:
            yield b","
        yield piece


class RowRenderer:
    """Renders the rows of one page while they arrive, so that no more is held than is sent.

    Raises `InvalidRequest` as soon as the page is larger than it may be.
    """

    def __init__(self, query: Query, max_bytes: int) -> None:
        self._transcoder = to_transcoder(query.organization_id, query.sort.field, query.fields)
        self._strips_emails = query.strips_emails
        self._max_bytes = max_bytes
        self._free_bytes = max_bytes - _ENVELOPE_BYTES + _COMMA_BYTES

    def rows(self, documents: Documents, at_most: int) -> Rows:
        """The first documents as one piece of a page."""
        rows = self._transcoder.rows(self._stripped(documents), at_most, self._free_bytes)
        if rows.number:
            self._take(rows.json)
        return rows

    def each(self, documents: Documents) -> Iterator[Row]:
        """The documents one by one, each a piece of a page."""
        for row in self._transcoder.each(self._stripped(documents)):
            self._take(row.json)
            yield row

    def _stripped(self, documents: Documents) -> Documents:
        if not self._strips_emails:
            return documents
        cursor = decode(documents.cursor, _RAW)
        stripped = [_to_stripped(document) for document in cursor["firstBatch"]]
        return Documents(encode({"id": cursor["id"], "firstBatch": stripped}))

    def _take(self, piece: bytearray) -> None:
        self._free_bytes -= len(piece) + _COMMA_BYTES
        if self._free_bytes < 0:
            raise InvalidRequest(
                f"_limit: these rows are more than the {self._max_bytes} bytes that a page may"
                " have; a lower _limit is accepted, or fewer _fields.",
                parameter="_limit",
            )


class ThreadRenderer:
    """Renders a single thread with as many of its emails, newest first, as fit."""

    def __init__(self, row: bytearray, max_bytes: int) -> None:
        self._row = row
        self._emails: list[bytearray] = []
        self._free_bytes = max_bytes - len(self.finish()) + _COMMA_BYTES

    def add(self, email: bytearray) -> bool:
        """Returns False, and leaves this one out, when it does not fit any more."""
        self._free_bytes -= len(email) + _COMMA_BYTES
        if self._free_bytes < 0:
            return False
        self._emails.append(email)
        return True

    def finish(self) -> bytes:
        opening = self._row[:-1]
        comma = b"," if len(opening) > 1 else b""
        return b"".join([opening, comma, _EMAILS, *_separated(self._emails), b"]}"])


def _to_stripped(raw: RawBSONDocument) -> Mapping[str, Any]:
    """Of an email, the base keys plus the EmailPreview keys (contract 3.3)."""
    try:
        document = decode(raw.raw)
    except InvalidBSON:
        document = decode(raw.raw, extended_json.LENIENT)
    if document.get("_type") != EMAIL:  # a place alone has no type
        return raw
    return {key: document[key] for key in _BASE_KEYS if key in document} | to_preview(document)
