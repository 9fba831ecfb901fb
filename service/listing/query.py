"""One validated request for activities. The parser makes it, the store answers it.

Times are whole milliseconds since 1970-01-01T00:00:00 UTC: as MongoDB keeps them, and without an
end where "after the last millisecond of the year 9999" would not fit.
"""

from dataclasses import dataclass
from typing import Literal

SortField = Literal["date_created", "activity_at"]

# MongoDB merges at most so many ordered scans (leads x types) in one find (design 3, I1).
MAX_SCANS = 200


@dataclass(frozen=True, slots=True)
class Sort:
    """`field` then `id`, both in one direction."""

    field: SortField = "date_created"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of the sort field, both ends included; None = open. It may be empty."""

    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """`field` has one of `values` (on an EmailThread: any member's does, contract 3.2)."""

    field: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place between two rows: behind the row of this time and stored id.

    `id` is None where no other row had that time: everything of it has been seen. `time` is None
    for rows that have none (contract 3.6), which stand below all others.
    """

    time: int | None
    id: str | None


@dataclass(frozen=True, slots=True)
class Fields:
    """What `_fields` asks for: names, and whether `_all` was among them."""

    names: frozenset[str]
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. The organization comes from the API key and from nowhere else (I2).

    `types` are stored `_type` names with the mode of `thread_emails` applied; empty = no rows.
    `leads` and `ids` (as shown) are None when not asked for; empty = no rows.
    Conditions hold all; two on one field are two filters, each looking at a thread by itself.
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
    after: Cursor | None = None
    fields: Fields | None = None

    @property
    def is_empty(self) -> bool:
        """True when no row can answer it, so that nobody need be asked."""
        return not self.types or self.leads == () or self.ids == ()

    @property
    def scans(self) -> int:
        """How many ordered scans it takes: leads x types."""
        return len(self.types) * (1 if self.leads is None else len(self.leads))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as the API shows them, and where the next page begins (None = at its end).

    `rows` are pieces of JSON, each of one row or more with commas between.
    """

    rows: list[bytearray]
    has_more: bool
    next: Cursor | None
