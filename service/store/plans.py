"""From a query to what MongoDB is asked: every shape of find there is, and the index it names.

| what is asked for                      | index                     | order comes from            |
| -------------------------------------- | ------------------------- | --------------------------- |
| `ids`                                  | `_id_`                    | nowhere: 200 keys at most   |
| leads, sorted by `date_created`        | lead_date_created         | one scan a lead and type    |
| one lead, sorted by `activity_at`      | lead_activity_at          | one scan a type             |
| a value that an own list has an index for | that index             | one scan a value            |
| anything else                          | organization_date_created | one scan a type             |

MongoDB merges up to `MAX_SCANS` ordered scans; beyond, `split` makes several queries of one.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from bson.datetime_ms import DatetimeMS

from service.activities.types import BY_NAME, CUSTOM_ACTIVITY, EMAIL, EMAIL_THREAD
from service.listing.query import MAX_SCANS, Condition, Cursor, Query
from service.store.ids import THREAD_SUFFIX, to_key
from service.store.indexes import (
    LEAD_ACTIVITY_AT,
    LEAD_DATE_CREATED,
    ORGANIZATION_DATE_CREATED,
    PRIMARY,
    THREAD_MEMBERS,
    index_of_value,
)

EMAIL_BODIES = frozenset({"body_text", "body_html", "body_text_quoted", "body_html_quoted"})

# On a thread, these are looked for in all of its members (contract 3.2).
_MEMBER_VALUES: Mapping[str, str] = MappingProxyType(
    {"user_id": "_meta.user_ids", "contact_id": "_meta.contact_ids"}
)
# MongoDB passes over so many keys of an index in some ten milliseconds.
_MAX_CHEAP_SKIP = 10_000
_OURS: Mapping[str, int] = MappingProxyType({"_id": 0, "_meta": 0})
_MAX_PROJECTED_NAMES = 100
_FIRST_DATE = DatetimeMS(-(2**63))

Clause = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Find:
    """One find: the organization stands first in `filter` (I2), `hint` names the index (I1)."""

    filter: Clause
    hint: str
    sort: tuple[tuple[str, int], ...]


def to_residual_fields(query: Query) -> list[str]:
    """The filters that the index does not answer: each of its documents is held against them."""
    if query.ids is not None:
        return []
    hint = _to_hint(query)
    fields = {one.field for one in query.conditions if index_of_value(one.field) != hint}
    if query.only_custom_types is not None:
        fields.add("custom_activity_type_id")
    return sorted(fields)


def is_indexed(query: Query) -> bool:
    """Whether the page costs about the same however many activities there are."""
    is_narrow = query.skip <= _MAX_CHEAP_SKIP and query.scans <= MAX_SCANS
    return query.ids is not None or (is_narrow and not to_residual_fields(query))


def split(query: Query) -> Iterator[Query]:
    """The same query for some leads at a time, none of more than `MAX_SCANS` scans."""
    if query.leads is None or query.scans <= MAX_SCANS:
        yield query
        return
    size = MAX_SCANS // len(query.types)
    for first in range(0, len(query.leads), size):
        yield replace(query, leads=query.leads[first : first + size])


def to_finds(query: Query) -> list[Find]:
    """The finds that give the rows behind the query's position, one after the other.

    Two only where the page before ended among rows of one time: as one find, they would make
    MongoDB read every row of that time (design 3).
    """
    match, hint = to_match(query), _to_hint(query)
    return [
        Find({**match, **interval}, hint, _to_sort(query, interval))
        for interval in _to_intervals(query)
    ]


def to_rows_find(query: Query, stored_ids: Collection[str]) -> Find:
    """Those of these rows that the query lists, wherever its page begins, in no order."""
    (find,) = to_finds(replace(query, after=None))
    keys = {to_key(query.organization_id, each) for each in stored_ids}
    if query.ids is not None:
        keys &= {*find.filter["_id"]["$in"]}
    return Find({**find.filter, "_id": {"$in": sorted(keys)}}, PRIMARY, ())


def to_members_find(organization_id: str, thread_id: str) -> Find:
    """The emails of a thread, newest first."""
    match = {"organization_id": organization_id, "_meta.thread": thread_id, "_type": EMAIL}
    return Find(match, THREAD_MEMBERS, (("activity_at", -1), ("id", -1)))


def to_match(query: Query) -> Clause:
    """What the query's rows have in common, wherever a page begins."""
    match: Clause = {"organization_id": query.organization_id}
    if query.ids is not None:
        match["_id"] = {"$in": to_keys(query.organization_id, query.ids, query.types)}
    if query.leads is not None:
        match["lead_id"] = _one_of(query.leads)
    match["_type"] = _one_of(query.types)
    match |= {
        condition.field: _one_text_of(condition.values)
        for condition in query.conditions
        if condition.field not in _MEMBER_VALUES
    }
    if residual := list(_to_residual(query)):
        match["$and"] = residual
    return match


def to_keys(organization_id: str, ids: Collection[str], types: Collection[str]) -> list[str]:
    """The `_id`s under which activities of these types, and threads, may be shown by `ids`."""
    keys = [] if set(types) == {EMAIL_THREAD} else [to_key(organization_id, each) for each in ids]
    if EMAIL_THREAD in types:
        keys += [to_key(organization_id, each + THREAD_SUFFIX) for each in ids]
    return keys


def to_projection(query: Query) -> Mapping[str, int]:
    """What of a document has to travel: never more of the heavy parts than is asked for.

    They are left out by name, whatever the type of a document: an unknown field of another type
    that is named like one of them is not shown where both types are listed.
    Names of a client reach MongoDB only where they are plain words; what else `_fields` says is
    picked from the whole document.
    """
    stripped = EMAIL_BODIES if query.strips_emails and EMAIL in query.types else frozenset[str]()
    if query.fields is not None and query.fields.everything:
        return all_but(stripped)
    left_out = _to_heavy_fields(query.types) | stripped
    if query.fields is None:
        return all_but(left_out)
    names = query.fields.names
    if len(names) > _MAX_PROJECTED_NAMES or not all(map(_is_plain, names)):
        return all_but(left_out - names)
    if query.strips_emails and "has_attachments" in names:
        names |= {"attachments"}
    always = ("_type", "id", query.sort.field)
    return {"_id": 0, **dict.fromkeys((*always, *sorted(names - _OURS.keys())), 1)}


@lru_cache
def _to_heavy_fields(types: tuple[str, ...]) -> frozenset[str]:
    return frozenset[str]().union(*(BY_NAME[name].heavy_fields for name in types))


def to_key_projection(query: Query) -> Mapping[str, int]:
    """No more than a row's place; an index that sorts has it all."""
    return {"_id": 0, query.sort.field: 1, "id": 1}


def all_but(names: Collection[str]) -> Mapping[str, int]:
    """Everything of the activity but these fields."""
    return {**_OURS, **dict.fromkeys(names, 0)}


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier()


def _to_hint(query: Query) -> str:
    if query.ids is not None:
        return PRIMARY
    if query.leads is not None:
        return LEAD_DATE_CREATED if query.sort.field == "date_created" else LEAD_ACTIVITY_AT
    for condition in query.conditions:
        if (index := index_of_value(condition.field)) is not None:
            return index
    return ORGANIZATION_DATE_CREATED


def _to_sort(query: Query, interval: Clause) -> tuple[tuple[str, int], ...]:
    """Within one time by id alone: MongoDB 6 sorts by itself if told to sort by that time too."""
    if query.ids is not None:
        return ()
    direction = -1 if query.sort.descending else 1
    is_one_time = not isinstance(interval.get(query.sort.field, {}), dict)
    fields = ("id",) if is_one_time else (query.sort.field, "id")
    return tuple((field, direction) for field in fields)


def _to_intervals(query: Query) -> Iterator[Clause]:
    """Ranges of the sort field, in the order of the rows."""
    field, bounds, after = query.sort.field, query.bounds, query.after
    interval: dict[str, DatetimeMS] = {}
    if bounds.lowest is not None:
        interval["$gte"] = DatetimeMS(bounds.lowest)
    if bounds.highest is not None:
        interval["$lte"] = DatetimeMS(bounds.highest)
    if after is not None:
        yield from _to_intervals_behind(after, field, interval, descending=query.sort.descending)
        return
    if bounds.lowest is not None and bounds.lowest == bounds.highest:
        yield {field: DatetimeMS(bounds.lowest)}
        return
    yield {field: interval} if interval else {}


def _to_intervals_behind(
    after: Cursor, field: str, interval: dict[str, DatetimeMS], *, descending: bool
) -> Iterator[Clause]:
    """The rest of the cursor's time, then what is beyond it. A range of dates holds nothing that has
    no date, so that is asked for by itself where the user has set no bounds."""
    beyond = "$lt" if descending else "$gt"
    time = None if after.time is None else DatetimeMS(after.time)
    may_be_undated = not interval
    if after.id is not None:
        yield {field: time, "id": {beyond: after.id}}
    if time is not None:
        interval.pop(f"{beyond}e", None)
        interval[beyond] = time
        yield {field: interval}
        if descending and may_be_undated:
            yield {field: None}
    elif not descending:
        yield {field: {"$gte": _FIRST_DATE}}


def _to_residual(query: Query) -> Iterator[Clause]:
    """Filters that no index knows: they are held against each document."""
    for condition in query.conditions:
        if condition.field in _MEMBER_VALUES:
            yield _to_member_clause(condition, query.types)
    if query.only_custom_types is not None:
        custom = {"custom_activity_type_id": _one_text_of(query.only_custom_types)}
        yield {"$or": [{"_type": {"$ne": CUSTOM_ACTIVITY}}, custom]}


def _to_member_clause(condition: Condition, types: Collection[str]) -> Clause:
    """A thread's own value is always one of its members' too, so it need not be told apart."""
    values = _one_of(condition.values)
    fields = [condition.field] if set(types) != {EMAIL_THREAD} else []
    if EMAIL_THREAD in types:
        fields.append(_MEMBER_VALUES[condition.field])
    clauses = [{field: values} for field in fields]
    return clauses[0] if len(clauses) == 1 else {"$or": clauses}


def _one_text_of(values: Collection[str]) -> Clause:
    """Of fields that need not be texts (contract 1.3): in a list, MongoDB finds each value too.

    Not told apart where there are more values than it merges scans: it would read every document
    before it sorts.
    """
    one_of = {"$in": list(values)}
    return one_of if len(values) > MAX_SCANS else {**one_of, "$not": {"$type": "array"}}


def _one_of(values: Collection[str]) -> Any:
    return next(iter(values)) if len(values) == 1 else {"$in": list(values)}
