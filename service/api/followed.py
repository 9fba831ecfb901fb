"""A listing that is followed, and what the feed's rows are to it (design 9).

What has changed is judged by the listing's own query, restricted to the rows that the feed names.
What comes back is `set`, what does not is `removed`: there is no second form of any filter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import orjson

from service.errors import InvalidRequest
from service.listing.event_ids import to_bound
from service.listing.query import Query
from service.observability import FOLLOWED_EVALUATIONS
from service.store.feed import ChangedRow
from service.store.ids import THREAD_SUFFIX
from service.store.mongo import Mongo
from service.store.reads import find_rows

# So many rows are asked for at once.
MAX_ROWS = 100
SET, REMOVED = b"set", b"removed"

Scope = tuple[str, str | None]
"""An organization and one of its leads, or all."""


class Change(NamedTuple):
    """What has happened to a row of a followed listing: the name and the data of an event."""

    name: bytes
    data: bytes


@dataclass(frozen=True)
class Followed:
    """A listing, wherever its page begins and ends. Equal ones are followed as one."""

    path: str
    query: Query

    @classmethod
    def of(cls, path: str, query: Query) -> "Followed":
        return cls(path, replace(query, limit=0, skip=0, after=None))

    @cached_property
    def bound(self) -> bytes:
        """What its events' ids are bound to."""
        return to_bound(self.path, self.query)

    @property
    def scopes(self) -> Iterator[Scope]:
        """Where the feed's rows concern it."""
        organization_id, leads = self.query.organization_id, self.query.leads
        return ((organization_id, lead) for lead in ((None,) if leads is None else leads))

    def concerns(self, row: ChangedRow) -> bool:
        """Whether a row within its scopes may be one that it lists, or has listed.

        What is new cannot have been listed, so it need not be asked for where its type is not.
        """
        if self.query.is_empty or (row.is_first and row.type_name not in self.query.types):
            return False
        return self.query.ids is None or _to_shown(row.id) in self.query.ids


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks the store what rows are to a listing."""

    mongo: Mongo
    max_seconds: float
    max_page_bytes: int

    async def judge(self, followed: Followed, rows: Sequence[ChangedRow]) -> list[Change]:
        """At most one change a row, in their order. Raises `StoreError`."""
        FOLLOWED_EVALUATIONS.inc()
        found = await self._find(followed.query, [row.id for row in rows])
        return list(_to_changes(rows, found))

    async def _find(self, query: Query, ids: Sequence[str]) -> Mapping[str, bytes]:
        try:
            return await find_rows(
                self.mongo,
                query,
                ids,
                max_seconds=self.max_seconds,
                max_page_bytes=self.max_page_bytes,
            )
        except InvalidRequest:  # together they are too large
            half = len(ids) // 2
            return {
                **await self._find(query, ids[:half]),
                **await self._find(query, ids[half:]),
            }


def merge(rows: Iterable[ChangedRow]) -> dict[str, ChangedRow]:
    """Each row once, as the last of its changes; new only where all of them say so."""
    merged: dict[str, ChangedRow] = {}
    for row in rows:
        known = merged.get(row.id)
        merged[row.id] = row if known is None or known.is_first else row._replace(is_first=False)
    return merged


def in_parts(rows: Iterable[ChangedRow]) -> Iterator[list[ChangedRow]]:
    """As many at a time as are asked for at once."""
    remaining = iter(rows)
    while part := list(islice(remaining, MAX_ROWS)):
        yield part


def _to_changes(rows: Sequence[ChangedRow], found: Mapping[str, bytes]) -> Iterator[Change]:
    for row in rows:
        if (json := found.get(row.id)) is not None:
            yield Change(SET, json)
        elif not row.is_first:
            yield Change(REMOVED, orjson.dumps({"id": _to_shown(row.id), "_type": row.type_name}))


def _to_shown(stored_id: str) -> str:
    return stored_id.removesuffix(THREAD_SUFFIX)
