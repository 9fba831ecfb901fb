"""From the parameters of a request to a `Query` (contract 3.2 to 3.4).

Whatever cannot be honoured raises `InvalidRequest`, which names the parameter and says what would
be accepted. Empty values are as if they were not there, but for filters by ids, which would let
everything through; unknown parameters too, unless the request is strict.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, NoReturn, cast

from service.activities.base import ID_PATTERN
from service.activities.types import (
    BY_NAME,
    CUSTOM_ACTIVITY,
    EMAIL,
    EMAIL_THREAD,
    TYPES,
    ActivityType,
)
from service.errors import InvalidRequest, UnknownParameters
from service.listing.cursor import Cursors
from service.listing.datetimes import Operator, parse_bound, parse_tz_offset
from service.listing.parameters import (
    CUSTOM,
    CUSTOM_TYPE_PREFIX,
    MAX_LEADS,
    MAX_LIMIT,
    MAX_SKIP_BEYOND_SCANS,
    TYPE_NAMES,
    Form,
    Parameter,
    condition_fields,
    parameters_of,
    to_stem,
)
from service.listing.query import MAX_SCANS, Bounds, Condition, Fields, Query, Sort, SortField

Parameters = Sequence[tuple[str, str]]
Mode = Literal["false", "true", "only"]

_ID = re.compile(ID_PATTERN)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile("[0-9]+")
_DATETIMES = (
    "a date-time is YYYY-MM-DD or YYYY-MM-DDThh:mm:ss, up to nine decimals, then Z, +hh:mm, -hh:mm"
    " or nothing, of the years 1 to 9999, such as 2026-01-02T10:00:00Z"
)
# How many unknown names are told, and how much of each is compared.
_MAX_HINTS = 5
_MAX_COMPARED = 40
_ALL_TYPES = frozenset(BY_NAME)
# What a thread has of several emails: each filter looks at all of them (contract 3.2).
_MEMBER_FIELDS = frozenset({"user_id", "contact_id"})


@dataclass(frozen=True, slots=True)
class _Types:
    """What a type filter lets through; `custom` limits custom activities, None = any."""

    names: frozenset[str]
    custom: frozenset[str] | None = None

    def __and__(self, other: "_Types") -> "_Types":
        limits = [limit for limit in (self.custom, other.custom) if limit is not None]
        return _Types(self.names & other.names, frozenset.intersection(*limits) if limits else None)


def parse_query(
    parameters: Parameters,
    *,
    organization_id: str,
    own_type: ActivityType | None,
    tz_offset: str | None,
    cursors: Cursors,
    is_strict: bool = False,
) -> Query:
    """The query of the listing (`own_type` None) or of one type's own list.

    `parameters` are decoded and in their order; `tz_offset` is the header's text. Raises
    `InvalidRequest`, and where `is_strict` also `UnknownParameters`.
    """
    known = parameters_of(own_type)
    if is_strict:
        require_known(parameters, known)
    values = _read_values(parameters, known, parse_tz_offset(tz_offset))
    sort = _to_sort(values.get("_order_by", "-date_created"))
    leads = _both(values.get("lead_id"), values.get("lead_id__in"))
    _check_one_lead(values, leads, sort, own_type)
    mode: Mode = values.get("thread_emails", "false")
    types = _to_types(values, own_type)
    ids = values.get("id__in")
    query = Query(
        organization_id=organization_id,
        types=_to_emitted(types.names, mode) if _is_own(values, organization_id) else (),
        sort=sort,
        bounds=_to_bounds(values, sort, known),
        leads=None if leads is None else tuple(sorted(leads)),
        ids=None if ids is None else tuple(sorted(ids)),
        conditions=tuple(_to_conditions(values)),
        only_custom_types=types.custom,
        strips_emails=mode == "true",
        limit=values.get("_limit", MAX_LIMIT),
        skip=values.get("_skip", 0),
        fields=_to_fields(values.get("_fields")),
    )
    _check_skip(values, query)
    if "_cursor" not in values:
        return query
    return replace(query, after=cursors.decode(values["_cursor"], query))


def parse_fields(parameters: Parameters, *, is_strict: bool = False) -> Fields | None:
    """What `_fields` asks of a single activity; every other parameter is unknown there."""
    if is_strict:
        require_known(parameters, _ONLY_FIELDS)
    return _to_fields(_read_values(parameters, _ONLY_FIELDS, timedelta()).get("_fields"))


def require_known(parameters: Parameters, known: Iterable[str]) -> None:
    """Raises `UnknownParameters` where a name is not among `known`."""
    names = list(known)
    unknown = dict.fromkeys(name for name, _ in parameters if to_stem(name) not in names)
    if unknown:
        raise UnknownParameters(
            {name: _to_hint(name, names) for name in islice(unknown, _MAX_HINTS)}
        )


def _to_hint(name: str, known: Sequence[str]) -> str:
    """Comparing takes time quadratic in the length of a name, of which the beginning is enough."""
    text = f"{_printable(name)}: there is no such parameter here"
    nearest = get_close_matches(name[:_MAX_COMPARED], known, n=1, cutoff=0)
    return f"{text}; the nearest is {nearest[0]}." if nearest else f"{text}; none is accepted."


# --- texts to values, each parameter by itself --------------------------------------------------


def _read_values(
    parameters: Parameters, known: Mapping[str, Parameter], offset: timedelta
) -> dict[str, Any]:
    """The value of every parameter that is there, in its form."""
    given: dict[str, list[str]] = {}
    for name, text in parameters:
        stem = to_stem(name)
        if stem not in known:
            continue
        if stem != name and not known[stem].takes_list:
            _refuse(stem, "it takes one value, and no list")
        texts = given.setdefault(stem, [])
        if not _is_empty(text):
            texts.append(text)
    return {
        name: _READERS[known[name].form](known[name], texts, offset)
        for name, texts in given.items()
        if texts or _must_name_ids(known[name])
    }


def _is_empty(text: str) -> bool:
    return not text.replace(",", "").strip()


def _must_name_ids(parameter: Parameter) -> bool:
    """False where the parameter counts as absent without a value; else refuses it."""
    if parameter.is_id_filter:
        _refuse(parameter.name, "it names no id; ids are accepted, or no such parameter at all")
    return False


def _read_list(_: Parameter, texts: list[str], __: timedelta) -> frozenset[str]:
    parts = (part.strip() for text in texts for part in text.split(","))
    return frozenset(part for part in parts if part)


def _read_texts(parameter: Parameter, texts: list[str], offset: timedelta) -> frozenset[str]:
    if any(map(_SURROGATE.search, texts)):
        _refuse(parameter.name, "UTF-8 is accepted")
    return _read_list(parameter, texts, offset)


def _read_ids(parameter: Parameter, texts: list[str], offset: timedelta) -> frozenset[str]:
    ids = _read_list(parameter, texts, offset)
    if not all(map(_ID.fullmatch, ids)):
        _refuse(parameter.name, "ids of 1 to 128 of A-Z a-z 0-9 _ - . : @ are accepted")
    _check_count(parameter.name, ids, parameter.maximum)
    return ids


def _read_types(parameter: Parameter, texts: list[str], offset: timedelta) -> _Types:
    words = _read_list(parameter, texts, offset)
    custom = frozenset(word for word in words if _is_custom_type(word))
    for word in words - custom:
        if word not in TYPE_NAMES:
            accepted = f"{', '.join(TYPE_NAMES)} and {CUSTOM_TYPE_PREFIX}... ids are accepted"
            _refuse(parameter.name, f"{_printable(word)} is no type; {accepted}")
    names = {CUSTOM_ACTIVITY if word == CUSTOM else word for word in words - custom}
    if not custom or CUSTOM_ACTIVITY in names:
        return _Types(frozenset(names))
    return _Types(frozenset(names | {CUSTOM_ACTIVITY}), custom)


def _read_number(parameter: Parameter, texts: list[str], _: timedelta) -> int:
    text = _only(parameter, texts).lstrip("0") or "0"
    maximum = cast("int", parameter.maximum)
    if _NUMBER.fullmatch(text) is None:
        _refuse(parameter.name, f"an integer from 0 to {maximum} is accepted")
    # Longer texts are not even converted: that takes time quadratic in their length.
    if len(text) > len(str(maximum)) or int(text) > maximum:
        _refuse_size(parameter.name, maximum)
    return int(text)


def _read_datetime(parameter: Parameter, texts: list[str], offset: timedelta) -> int:
    try:
        return parse_bound(_only(parameter, texts), cast("Operator", parameter.operator), offset)
    except ValueError:
        _refuse(parameter.name, _DATETIMES)


def _read_choice(parameter: Parameter, texts: list[str], _: timedelta) -> str:
    text = _only(parameter, texts)
    if text not in parameter.choices:
        _refuse(parameter.name, f"one of {', '.join(parameter.choices)} is accepted")
    return text


def _read_cursor(parameter: Parameter, texts: list[str], _: timedelta) -> str:
    return _only(parameter, texts)


_READERS: Mapping[Form, Callable[[Parameter, list[str], timedelta], Any]] = MappingProxyType(
    {
        Form.IDS: _read_ids,
        Form.TEXTS: _read_texts,
        Form.FIELDS: _read_list,
        Form.TYPES: _read_types,
        Form.NUMBER: _read_number,
        Form.DATETIME: _read_datetime,
        Form.CHOICE: _read_choice,
        Form.CURSOR: _read_cursor,
    }
)
_ONLY_FIELDS = {"_fields": parameters_of(None)["_fields"]}


def _only(parameter: Parameter, texts: list[str]) -> str:
    if len(texts) > 1:
        _refuse(parameter.name, "it is accepted once")
    return texts[0]


def _is_custom_type(word: str) -> bool:
    is_longer = len(word) > len(CUSTOM_TYPE_PREFIX)
    return is_longer and word.startswith(CUSTOM_TYPE_PREFIX) and _ID.fullmatch(word) is not None


# --- values to the parts of a query, and the rules between them -----------------------------------


def _to_sort(order: str) -> Sort:
    return Sort(cast("SortField", order.removeprefix("-")), order.startswith("-"))


def _check_one_lead(
    values: Mapping[str, Any],
    leads: frozenset[str] | None,
    sort: Sort,
    own_type: ActivityType | None,
) -> None:
    asked = values.get("lead_id", frozenset()) | values.get("lead_id__in", frozenset())
    _check_count("lead_id" if "lead_id" in values else "lead_id__in", asked, MAX_LEADS)
    if leads is not None and len(leads) == 1:
        return
    if sort.field == "activity_at":
        _refuse("_order_by", "activity_at needs exactly one lead_id")
    known = parameters_of(own_type)
    for name in values:
        if known[name].needs_one_lead(own_type):
            _refuse(name, "it needs exactly one lead_id")


def _to_bounds(values: Mapping[str, Any], sort: Sort, known: Mapping[str, Parameter]) -> Bounds:
    lowest: list[int] = []
    highest: list[int] = []
    for name, value in values.items():
        parameter = known[name]
        if parameter.form is not Form.DATETIME:
            continue
        if parameter.field != sort.field:
            _refuse(name, f"it is accepted only with _order_by={parameter.field} or the reverse")
        (lowest if parameter.operator.startswith("g") else highest).append(value)
    return Bounds(max(lowest, default=None), min(highest, default=None))


def _to_types(values: Mapping[str, Any], own_type: ActivityType | None) -> _Types:
    """Type filters intersect as written (contract 3.3); without any, threads are not meant."""
    filters = [values[name] for name in ("_type", "_type__in") if name in values]
    if own_type is not None:
        filters.append(_Types(frozenset({own_type.name})))
    types = _Types(_ALL_TYPES if filters else _ALL_TYPES - {EMAIL_THREAD})
    for each in filters:
        types &= each
    return types


@lru_cache
def _to_emitted(names: frozenset[str], mode: Mode) -> tuple[str, ...]:
    """The types of the rows, in the order of contract 1.4: the mode says how emails appear."""
    if mode != "false" and EMAIL in names:
        names |= {EMAIL_THREAD}
    if mode == "only":
        names -= {EMAIL}
    return tuple(row.name for row in TYPES if row.name in names)


def _is_own(values: Mapping[str, Any], organization_id: str) -> bool:
    return organization_id in values.get("organization_id", (organization_id,))


def _to_conditions(values: Mapping[str, Any]) -> Iterable[Condition]:
    for field in condition_fields():
        one, several = values.get(field), values.get(f"{field}__in")
        filters = [one, several] if field in _MEMBER_FIELDS else [_both(one, several)]
        yield from (Condition(field, each) for each in filters if each is not None)


def _to_fields(names: frozenset[str] | None) -> Fields | None:
    return None if names is None else Fields(names - {"_all"}, "_all" in names)


def _check_skip(values: Mapping[str, Any], query: Query) -> None:
    if "_skip" in values and "_cursor" in values:
        _refuse("_skip", "it is not accepted together with _cursor")
    if query.scans > MAX_SCANS and query.skip > MAX_SKIP_BEYOND_SCANS:
        _refuse_size("_skip", MAX_SKIP_BEYOND_SCANS)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """Two filters on one field both hold."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _check_count(name: str, values: frozenset[str], maximum: int | None) -> None:
    if maximum is not None and len(values) > maximum:
        _refuse(name, f"at most {maximum} are accepted")


def _refuse_size(name: str, maximum: int) -> NoReturn:
    """In the words that clients of the reference system look for."""
    word = name.removeprefix("_")
    _refuse(
        name,
        f"The {word} you set is larger than the maximum {word} for this resource"
        f" (max_{word} = {maximum}). Please refine your search query",
    )


def _refuse(name: str, text: str) -> NoReturn:
    raise InvalidRequest(f"{name}: {text}.", parameter=name)


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()
