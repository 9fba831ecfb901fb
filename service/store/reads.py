"""Every question that is asked of the activities: `plans` says how, this module asks."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

from service.activities.types import BY_NAME
from service.errors import StoreTimeout
from service.listing.datetimes import to_milliseconds
from service.listing.query import MAX_SCANS, Fields, Page, Position, Query
from service.observability import FIND_SECONDS
from service.store.indexes import PRIMARY
from service.store.mongo import Mongo, translated_errors
from service.store.plans import (
    EMAIL_BODIES,
    THREAD,
    Find,
    all_but,
    split,
    to_finds,
    to_key_projection,
    to_match,
    to_members_find,
    to_projection,
)
from service.store.rendering import RowRenderer, ThreadRenderer, to_json, to_row
from service.store.writes import to_key

MAX_THREAD_EMAILS = 500

_Place = tuple[datetime, str]


async def find_page(mongo: Mongo, query: Query, *, max_seconds: float, max_page_bytes: int) -> Page:
    """One page.

    Raises `InvalidRequest` where the page has more than `max_page_bytes`, `StoreTimeout` and
    `StoreUnavailable`.
    """
    if query.is_empty:
        return Page([], has_more=False, next=None)
    source = _Source(mongo, max_seconds)
    renderer = RowRenderer(
        fields=query.fields, strips_emails=query.strips_emails, max_bytes=max_page_bytes
    )
    read = _read_by_key if query.ids is not None or query.scans > MAX_SCANS else _read_in_order
    with FIND_SECONDS.labels(_to_shape(query)).time():
        async with translated_errors():
            return await read(source, query, renderer)


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
    with FIND_SECONDS.labels("activity").time():
        async with translated_errors():
            find = to_finds(query)[0]
            found = [each async for each in source.documents(find, to_projection(query))]
            if not found:
                return None
            # Of an activity and a thread of one id, the activity's stored id is the lower one.
            document = min(found, key=lambda each: each["id"])
            row = to_row(document, fields=fields, strips_emails=False)
            if document["_type"] != THREAD or not _are_emails_wanted(fields):
                return to_json(row)
            members = to_members_find(organization_id, activity_id)
            return await _read_thread(source, members, ThreadRenderer(row, max_page_bytes))


class _Source:
    """What one request may ask of MongoDB, within one time limit over all its finds."""

    def __init__(self, mongo: Mongo, max_seconds: float) -> None:
        self._activities = mongo.activities
        self._end = time.monotonic() + max_seconds

    async def documents(
        self, find: Find, projection: Mapping[str, int], *, limit: int = 0, skip: int = 0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The documents as they arrive; a caller that leaves early closes it (`aclosing`)."""
        cursor = self._activities.find(
            find.filter,
            projection,
            sort=find.sort or None,
            hint=find.hint,
            skip=skip,
            limit=limit,
            max_time_ms=self._remaining_milliseconds(),
        )
        try:
            async for document in cursor:
                yield document
        finally:
            if cursor.alive:
                await cursor.close()

    def _remaining_milliseconds(self) -> int:
        remaining = int((self._end - time.monotonic()) * 1000)
        if remaining <= 0:
            raise StoreTimeout("the query ran past its time limit")
        return remaining


async def _read_in_order(source: _Source, query: Query, renderer: RowRenderer) -> Page:
    """MongoDB gives the rows in their order; one more than the limit tells whether more follow."""
    places: list[_Place] = []
    rows: list[bytes] = []
    projection = to_projection(query) if query.limit else to_key_projection(query)
    for find in to_finds(query):
        missing = query.limit + 1 - len(places)
        if not missing:
            break
        documents = source.documents(find, projection, limit=missing, skip=query.skip)
        async with aclosing(documents):
            async for document in documents:
                places.append((document[query.sort.field], document["id"]))
                if len(rows) < query.limit:
                    rows.append(renderer.render(document))
    return _to_page(query, places, rows)


async def _read_by_key(source: _Source, query: Query, renderer: RowRenderer) -> Page:
    """First the places alone, sorted here; then the documents of the page.

    For what MongoDB cannot give in order without holding whole documents: a list of ids, and more
    scans than it merges.
    """
    times: dict[str, datetime] = {}
    limit = 0 if query.ids is not None else query.skip + query.limit + 1
    for part in split(query):
        for find in to_finds(part):
            keys = source.documents(find, to_key_projection(query), limit=limit)
            times |= {key["id"]: key[query.sort.field] async for key in keys}
    places = [(time_, stored_id) for stored_id, time_ in times.items()]
    places.sort(reverse=query.sort.descending)
    places = places[query.skip : query.skip + query.limit + 1]
    ids = [stored_id for _, stored_id in places[: query.limit]]
    rows = await _render_by_id(source, query, ids, renderer) if ids else {}
    return _to_page(query, places, [rows[each] for each in ids if each in rows])


async def _render_by_id(
    source: _Source, query: Query, ids: list[str], renderer: RowRenderer
) -> dict[str, bytes]:
    """The rows by stored id; what has gone meanwhile is not among them."""
    keys = [to_key(query.organization_id, each) for each in ids]
    find = Find({**to_match(query), "_id": {"$in": keys}}, PRIMARY, ())
    rows = {}
    documents = source.documents(find, to_projection(query))
    async with aclosing(documents):
        async for document in documents:
            stored_id = document["id"]
            rows[stored_id] = renderer.render(document)
    return rows


async def _read_thread(source: _Source, members: Find, renderer: ThreadRenderer) -> bytes:
    emails = source.documents(members, all_but(EMAIL_BODIES), limit=MAX_THREAD_EMAILS)
    async with aclosing(emails):
        async for email in emails:
            if not renderer.add(email):
                break
    return renderer.finish()


def _to_page(query: Query, places: list[_Place], rows: list[bytes]) -> Page:
    has_more = len(places) > query.limit
    if not has_more or not query.limit:
        return Page(rows, has_more, next=None)
    (time_, stored_id), (next_time, _) = places[query.limit - 1], places[query.limit]
    is_in_tie = time_ == next_time
    return Page(rows, has_more, Position(to_milliseconds(time_), stored_id if is_in_tie else None))


def _are_emails_wanted(fields: Fields | None) -> bool:
    return fields is None or fields.everything or "emails" in fields.names


def _to_shape(query: Query) -> str:
    if query.ids is not None:
        return "ids"
    if query.leads is None:
        return "organization"
    return "lead" if len(query.leads) == 1 else "leads"
