"""Every question that is asked of the activities: `plans` says how, this module asks."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import lru_cache
from operator import attrgetter

from service.activities.types import BY_NAME
from service.bson.transcoding import Documents, Place, Transcoder
from service.errors import StoreTimeout
from service.listing.query import MAX_SCANS, Cursor, Fields, Page, Query
from service.observability import FIND_SECONDS
from service.store.documents import find_documents
from service.store.ids import THREAD_SUFFIX, to_key
from service.store.indexes import PRIMARY
from service.store.mongo import Mongo, asking, to_primary
from service.store.plans import (
    EMAIL_BODIES,
    Find,
    all_but,
    split,
    to_finds,
    to_key_projection,
    to_match,
    to_members_find,
    to_projection,
    to_rows_find,
)
from service.store.rendering import RowRenderer, ThreadRenderer, to_transcoder

MAX_THREAD_EMAILS = 500
_ANY_SIZE = 2**62

# To look a metric up by its labels takes longer than to count.
_find_seconds = lru_cache(FIND_SECONDS.labels)


async def find_page(mongo: Mongo, query: Query, *, max_seconds: float, max_page_bytes: int) -> Page:
    """One page.

    Raises `InvalidRequest` where the page has more than `max_page_bytes`, `StoreTimeout` and
    `StoreUnavailable`.
    """
    if query.is_empty:
        return Page([], has_more=False, next=None)
    source = _Source(mongo, max_seconds)
    renderer = RowRenderer(query, max_page_bytes)
    read = _read_by_key if query.ids is not None or query.scans > MAX_SCANS else _read_in_order
    with _find_seconds(_to_shape(query)).time():
        async with asking(mongo):
            return await read(source, query, renderer)


async def find_rows(
    mongo: Mongo,
    query: Query,
    stored_ids: Sequence[str],
    *,
    max_seconds: float,
    max_page_bytes: int,
) -> dict[str, bytes]:
    """Those of these rows that the query lists, by stored id, as a page of it shows them.

    From the primary: whoever asks knows that they have changed. No more is held at once than a page
    may have, or one row. Raises `StoreTimeout` and `StoreUnavailable`.
    """
    if query.is_empty:
        return {}
    source = _Source(to_primary(mongo), max_seconds)
    renderer = RowRenderer(query, max_page_bytes if len(stored_ids) > 1 else _ANY_SIZE)
    rows: dict[str, bytes] = {}
    with _find_seconds("rows").time():
        async with (
            asking(mongo),
            source.ask(to_rows_find(query, stored_ids), to_projection(query)) as replies,
        ):
            async for documents in replies:
                rows |= {row.place.id: bytes(row.json) for row in renderer.each(documents)}
    return rows


async def get_activity(
    mongo: Mongo,
    organization_id: str,
    activity_id: str,
    *,
    type_name: str | None,
    fields: Fields | None,
    max_seconds: float,
    max_page_bytes: int,
) -> bytes | None:
    """The JSON of one activity, or of the thread of that id with its `emails`, or None.

    Of a thread's emails there are as many as fit `max_page_bytes` (contract 2). Raises
    `StoreTimeout` and `StoreUnavailable`.
    """
    types = tuple(BY_NAME) if type_name is None else (type_name,)
    query = Query(organization_id, types, ids=(activity_id,), fields=fields)
    source = _Source(mongo, max_seconds)
    with _find_seconds("activity").time():
        async with asking(mongo):
            return await _read_activity(source, query, max_page_bytes)


class _Source:
    """What one request may ask of MongoDB, within one time limit over all its finds."""

    def __init__(self, mongo: Mongo, max_seconds: float) -> None:
        self._mongo = mongo
        self._end = time.monotonic() + max_seconds

    def ask(
        self, find: Find, projection: Mapping[str, int], *, limit: int = 0, skip: int = 0
    ) -> AbstractAsyncContextManager[AsyncGenerator[Documents, None]]:
        """Documents as they arrive."""
        return aclosing(
            find_documents(
                self._mongo,
                find,
                projection,
                limit=limit,
                skip=skip,
                remaining_milliseconds=self._remaining_milliseconds,
            )
        )

    def _remaining_milliseconds(self) -> int:
        remaining = int((self._end - time.monotonic()) * 1000)
        if remaining <= 0:
            raise StoreTimeout("the query ran past its time limit")
        return remaining


async def _read_in_order(source: _Source, query: Query, renderer: RowRenderer) -> Page:
    """MongoDB gives the rows in their order; one more than the limit tells whether more follow."""
    projection = to_projection(query) if query.limit else to_key_projection(query)
    pieces: list[bytearray] = []
    missing, last, following = query.limit, None, None
    for find in to_finds(query):
        if following is not None:
            break
        async with source.ask(find, projection, limit=missing + 1, skip=query.skip) as replies:
            async for documents in replies:
                rows = renderer.rows(documents, missing)
                following = rows.following
                if rows.number:
                    missing -= rows.number
                    last = rows.last
                    pieces.append(rows.json)
    return _to_page(pieces, last, following)


async def _read_by_key(source: _Source, query: Query, renderer: RowRenderer) -> Page:
    """First the places alone, sorted here; then the documents of the page.

    For what MongoDB cannot give in order without holding whole documents: a list of ids, and more
    scans than it merges.
    """
    places = await _find_places(source, query)
    page = places[query.skip : query.skip + query.limit]
    following = places[query.skip + query.limit :]
    rows = await _render_by_id(source, query, [place.id for place in page], renderer)
    return _to_page(rows, page[-1] if page else None, following[0] if following else None)


async def _find_places(source: _Source, query: Query) -> list[Place]:
    """The first places in order, as many as the page and all before it, and one more."""
    places: dict[str, Place] = {}
    limit = 0 if query.ids is not None else query.skip + query.limit + 1
    projection = to_key_projection(query)
    transcoder = to_transcoder(query.organization_id, query.sort.field)
    for part in split(query):
        for find in to_finds(part):
            async with source.ask(find, projection, limit=limit) as replies:
                async for documents in replies:
                    places |= {row.place.id: row.place for row in transcoder.each(documents)}
    return sorted(places.values(), key=_to_rank, reverse=query.sort.descending)


async def _render_by_id(
    source: _Source, query: Query, ids: list[str], renderer: RowRenderer
) -> list[bytearray]:
    """The rows of these stored ids in their order, without those that have gone meanwhile."""
    if not ids:
        return []
    keys = [to_key(query.organization_id, each) for each in ids]
    find = Find({**to_match(query), "_id": {"$in": keys}}, PRIMARY, ())
    rows: dict[str, bytearray] = {}
    async with source.ask(find, to_projection(query)) as replies:
        async for documents in replies:
            rows |= {row.place.id: row.json for row in renderer.each(documents)}
    return [rows[each] for each in ids if each in rows]


async def _read_activity(source: _Source, query: Query, max_page_bytes: int) -> bytes | None:
    (find,) = to_finds(query)
    transcoder = to_transcoder(query.organization_id, fields=query.fields)
    async with source.ask(find, to_projection(query)) as replies:
        found = [row async for documents in replies for row in transcoder.each(documents)]
    if not found:
        return None
    # Of an activity and a thread of one id, the activity's stored id is the lower one.
    row = min(found, key=attrgetter("place.id"))
    if not row.place.id.endswith(THREAD_SUFFIX) or not _are_emails_wanted(query.fields):
        return bytes(row.json)
    members = to_members_find(query.organization_id, row.place.id.removesuffix(THREAD_SUFFIX))
    renderer = ThreadRenderer(row.json, max_page_bytes)
    return await _read_thread(source, members, to_transcoder(query.organization_id), renderer)


async def _read_thread(
    source: _Source, members: Find, transcoder: Transcoder, renderer: ThreadRenderer
) -> bytes:
    async with source.ask(members, all_but(EMAIL_BODIES), limit=MAX_THREAD_EMAILS) as replies:
        async for documents in replies:
            if not all(renderer.add(email.json) for email in transcoder.each(documents)):
                break
    return renderer.finish()


def _to_rank(place: Place) -> tuple[bool, int, str]:
    """As MongoDB sorts: what has no time stands below all that has one."""
    return place.time is not None, place.time or 0, place.id


def _to_page(rows: list[bytearray], last: Place | None, following: Place | None) -> Page:
    """Inside a tie the next page begins behind an id, else beyond a time."""
    if last is None or following is None:
        return Page(rows, following is not None, next=None)
    is_in_tie = last.time == following.time
    return Page(rows, has_more=True, next=Cursor(last.time, last.id if is_in_tie else None))


def _are_emails_wanted(fields: Fields | None) -> bool:
    return fields is None or fields.everything or "emails" in fields.names


def _to_shape(query: Query) -> str:
    if query.ids is not None:
        return "ids"
    if query.leads is None:
        return "organization"
    return "lead" if len(query.leads) == 1 else "leads"
