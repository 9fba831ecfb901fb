"""The listing without HTTP: parameters in, parsed JSON out, over a store filled by hand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from service.activities.events import Change, parse_event
from service.activities.types import BY_NAME, BY_PATH, ActivityType
from service.errors import InvalidRequest, Rejected
from service.listing.cursor import Cursors
from service.listing.parser import parse_fields, parse_query
from service.listing.query import Query
from service.store.ids import to_key
from service.store.mongo import Mongo
from service.store.reads import find_page, get_activity
from service.store.rendering import render_page
from service.store.threads import refresh_threads
from service.store.writes import write_changes
from tests.store.conversations import encoded

Pairs = Sequence[tuple[str, str]]
NOON = datetime(2026, 1, 2, 12)
CURSORS = Cursors("a secret of sixteen characters")


@dataclass(frozen=True, slots=True)
class Listing:
    """Asks the store as a handler would; `body` is what the HTTP answer would hold."""

    mongo: Mongo
    organization_id: str = "orga_1"
    max_page_bytes: int = 32 * 1024 * 1024
    max_seconds: float = 10.0

    def parse(
        self, parameters: Pairs, own: str | None = None, tz_offset: str | None = None
    ) -> Query:
        return parse_query(
            parameters,
            organization_id=self.organization_id,
            own_type=BY_NAME[own] if own else None,
            tz_offset=tz_offset,
            cursors=CURSORS,
        )

    async def page(
        self, parameters: Pairs = (), own: str | None = None, tz_offset: str | None = None
    ) -> tuple[dict[str, Any], str | None]:
        """The body, and the cursor of the next page."""
        query = self.parse(parameters, own, tz_offset)
        page = await find_page(
            self.mongo,
            query,
            max_seconds=self.max_seconds,
            max_page_bytes=self.max_page_bytes,
        )
        body: dict[str, Any] = json.loads(render_page(page))
        return body, CURSORS.encode(query, page.next) if page.next else None

    async def rows(self, *parameters: tuple[str, str], own: str | None = None) -> list[Any]:
        body, _ = await self.page(parameters, own)
        rows: list[Any] = body["data"]
        return rows

    async def ids(self, *parameters: tuple[str, str], own: str | None = None) -> list[str]:
        return [row["id"] for row in await self.rows(*parameters, own=own)]

    async def walk(
        self, parameters: Pairs = (), own: str | None = None, tz_offset: str | None = None
    ) -> list[Any]:
        """All rows, page after page by cursor. `parameters` hold no `_skip`."""
        rows: list[Any] = []
        body, cursor = await self.page(parameters, own, tz_offset)
        rows += body["data"]
        while cursor is not None:
            assert body["has_more"]
            body, cursor = await self.page([*parameters, ("_cursor", cursor)], own, tz_offset)
            rows += body["data"]
        assert not body["has_more"]
        return rows

    async def one(
        self, activity_id: str, *parameters: tuple[str, str], own: str | None = None
    ) -> Any:
        """The activity of this id, or None."""
        body = await get_activity(
            self.mongo,
            self.organization_id,
            activity_id,
            type_name=own,
            fields=parse_fields(parameters),
            max_seconds=self.max_seconds,
            max_page_bytes=self.max_page_bytes,
        )
        return None if body is None else json.loads(body)

    async def get(
        self, path: str, parameters: Pairs, headers: Mapping[str, str]
    ) -> tuple[int, Any, InvalidRequest | None]:
        """Status and body of a GET that is below `/activity/`, or why it is refused."""
        own_type, activity_id = _route(path)
        own = own_type.name if own_type else None
        try:
            if activity_id is not None:
                body = await self.one(activity_id, *parameters, own=own)
                return (404 if body is None else 200), body, None
            body, _ = await self.page(parameters, own, headers.get("X-TZ-Offset"))
        except InvalidRequest as refused:
            return 400, None, refused
        return 200, body, None


def _route(path: str) -> tuple[ActivityType | None, str | None]:
    rest = path.removeprefix("/activity").strip("/")
    if not rest or rest in BY_PATH:
        return BY_PATH.get(rest), None
    parent, _, activity_id = rest.rpartition("/")
    return BY_PATH.get(parent), activity_id


async def apply(mongo: Mongo, records: Iterable[bytes | None]) -> None:
    """Store what a consumer would store of these records."""
    changes: dict[tuple[str, str], Change] = {}
    for value in records:
        try:
            change = parse_event(value)
        except Rejected:
            continue
        if not isinstance(change, Change):
            continue
        newest = changes.setdefault((change.organization_id, change.id), change)
        if newest.revision < change.revision:
            changes[change.organization_id, change.id] = change
    writes = encoded(changes.values())
    await write_changes(mongo, writes)
    await refresh_threads(mongo, writes)


def document(
    stored_id: str,
    type_name: str = "Note",
    *,
    organization_id: str = "orga_1",
    lead_id: str | None = "lead_1",
    minutes: float = 0,
    **fields: Any,
) -> dict[str, Any]:
    """A stored document, as small as can be: where only its place in a listing matters."""
    time = NOON + timedelta(minutes=minutes)
    return {
        "_id": to_key(organization_id, stored_id),
        "id": stored_id,
        "organization_id": organization_id,
        "lead_id": lead_id,
        "_type": type_name,
        "date_created": time,
        "date_updated": time,
        "activity_at": time,
        "_meta": {"revision": f"{0:020d}/ev_1"},
        **fields,
    }


def as_shown(time: datetime) -> str:
    """A naive UTC time as the API prints it."""
    return time.replace(tzinfo=UTC).isoformat()
