"""One validated request for activities. The handlers make it, the store answers it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

SortField = Literal["date_created", "activity_at"]


@dataclass(frozen=True, slots=True)
class Sort:
    """`field` then `id`, both in one direction."""

    field: SortField = "date_created"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of the sort field in whole milliseconds, both ends included; None = open."""

    lowest: datetime | None = None
    highest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`field` has one of `values` (on an EmailThread: any member's does, contract 3.2)."""

    field: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Position:
    """The place of the last row of a page: its sort time and its stored id."""

    time: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Fields:
    """What `_fields` asks for: names, and whether `_all` was among them."""

    names: frozenset[str]
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. The organization comes from the API key and from nowhere else (I2).

    `types` are stored `_type` names with the mode of `thread_emails` applied; empty = no rows.
    `leads` and `ids` are None when not asked for; empty = no rows.
    `only_custom_types` limits CustomActivity rows (and those alone) to these `actitype_...` ids;
    None = any.
    """

    organization_id: str
    types: tuple[str, ...]
    sort: Sort = Sort()
    bounds: Bounds = Bounds()
    leads: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    only_custom_types: frozenset[str] | None = None
    strips_emails: bool = False
    limit: int = 100
    skip: int = 0
    after: Position | None = None
    fields: Fields | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as the API shows them (date-times still `datetime`), and where the next page begins."""

    rows: list[dict[str, Any]]
    has_more: bool
    next: Position | None
