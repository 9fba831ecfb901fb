"""`make docs`: the tables that the code knows, written into the pages that show them.

A page holds a pair of comments, `<!-- table: NAME -->` and `<!-- end -->`; what stands between them is
written here. Everything else on a page is written by people.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from service import observability
from service.activities.base import (
    HARD,
    HEAVY,
    Activity,
    datetime_fields,
    fields_of,
    marked_fields,
    nullable_fields,
)
from service.activities.types import TYPES, ActivityType
from service.listing.parameters import PARAMETERS, Form, OneLead, Parameter, parameters_of
from service.settings import SECTIONS, Section

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "docs/api.md", "docs/events.md", "docs/metrics.md", "docs/settings.md")

_BLOCK = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TARGET = re.compile(r"^([a-z-]+):.*## (.*)", re.MULTILINE)
_TIME = re.compile(r" \(([^()]*(?:\bs|min|hours?))\)")
_KINDS: Mapping[type, str] = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}
_BASE_NAMES = frozenset(name for name, _ in fields_of(Activity))

Table = Callable[[], str]


def render(page: str) -> str:
    """The page with every table as the code has it now. Raises `KeyError` for an unknown one."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", page)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- operators --------------------------------------------------------------------------------------
def settings(section: type[Section]) -> str:
    rows = [
        (f"`{variable}`", _default(section, field), section.model_fields[field].description or "")
        for variable, field in section.variables().items()
    ]
    return table(("variable", "default", "meaning"), rows)


def _default(section: type[Section], field: str) -> str:
    default: Any = section.model_fields[field].default
    if default is PydanticUndefined:
        return "none, required"
    if default is None or default == ():
        return "none"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    return f"`{','.join(default)}`" if isinstance(default, tuple) else f"`{default}`"


def metrics() -> str:
    rows = [
        (f"`{_exposed(one)}`", _KINDS[type(one)], _code_list(one._labelnames), one._documentation)
        for one in vars(observability).values()
        if type(one) in _KINDS
    ]
    return table(("metric", "kind", "labels", "meaning"), rows)


def _exposed(metric: Any) -> str:
    """The name that Prometheus sees."""
    return f"{metric._name}_total" if type(metric) is Counter else str(metric._name)


def targets() -> str:
    """What the Makefile says of its targets, the time apart."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rows = []
    for name, said in _TARGET.findall(makefile):
        time = _TIME.search(said)
        rows.append((f"`make {name}`", _TIME.sub("", said, 1), time[1] if time else ""))
    return table(("target", "does", "takes"), rows)


# --- producers --------------------------------------------------------------------------------------
def types() -> str:
    rows = [
        (f"`{row.object_type}`", f"`{row.name}`", f"[example](../examples/{row.object_type}.json)")
        for row in TYPES
    ]
    return table(("`object_type`", "`_type`", ""), rows)


def base_fields() -> str:
    return _fields(Activity, set())


def own_fields() -> str:
    return "\n\n".join(_own_fields(row) for row in TYPES)


def _own_fields(row: ActivityType) -> str:
    title = f"### {row.name}\n\n{_first_line(row.model)} `{row.object_type}`"
    own = _fields(row.model, set(_BASE_NAMES))
    return f"{title}\n\n{own}"


def _first_line(model: type[Activity]) -> str:
    return (model.__doc__ or "").strip().partition("\n")[0]


def _fields(model: type[Activity], without: set[str]) -> str:
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    rows = [
        (f"`{name}`", _shown(schema["properties"][name], definitions), _notes(model, name))
        for name, _ in fields_of(model)
        if name not in without
    ]
    return table(("field", "type", ""), rows) if rows else "No fields of its own."


def _notes(model: type[Activity], name: str) -> str:
    field = dict(fields_of(model))[name]
    notes = [field.description or ""]
    if name in marked_fields(model, HARD) | datetime_fields(model):
        notes.append("A wrong type rejects the event.")
    if name in nullable_fields(model):
        notes.append("Null where absent.")
    if name in marked_fields(model, HEAVY):
        notes.append("Shown only through `_fields`.")
    return " ".join(filter(None, notes))


def _shown(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type in words; of an object its keys."""
    if reference := schema.get("$ref"):
        part = definitions[reference.rpartition("/")[2]]
        if "properties" in part:
            return f"object: {_code_list(part['properties'])}"
        return _shown(part, definitions)
    if alternatives := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_shown(one, definitions) for one in alternatives))
    if words := schema.get("x-extensible-enum") or schema.get("enum"):
        return f"one of {_code_list(words)}"
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_shown(schema.get('items', {}), definitions)}"
    if schema.get("type") == "string" and "pattern" in schema:
        return "id"
    words_by_format = {"date-time": "date-time", "date": "date"}
    return words_by_format.get(schema.get("format", "")) or str(schema.get("type", "anything"))


# --- apps -------------------------------------------------------------------------------------------
def parameters() -> str:
    return table(("parameter", "form", "meaning"), map(_parameter, _listing_parameters()))


def _listing_parameters() -> Iterator[Parameter]:
    return (row for row in PARAMETERS if row.own_list is None)


def _parameter(row: Parameter) -> tuple[str, str, str]:
    need = {OneLead.NEVER: "", OneLead.LISTING: " (On the list of one type it needs none.)"}
    return f"`{row.name}`", _form(row), row.description + need.get(row.one_lead, "")


def _form(row: Parameter) -> str:
    words = {
        Form.IDS: "ids",
        Form.TEXTS: "texts",
        Form.TYPES: "types",
        Form.FIELDS: "field names",
        Form.DATETIME: "date-time or date",
        Form.CURSOR: "cursor",
    }
    if row.form is Form.NUMBER:
        return f"0 to {row.maximum}, default {row.default}"
    if row.form is Form.CHOICE:
        return ", ".join(f"`{one}`{' (default)' * (one == row.default)}" for one in row.choices)
    return words[row.form]


def own_lists() -> str:
    rows = [
        (f"`/activity/{row.path}/`", f"`{row.name}`", _code_list(_own_parameters(row)))
        for row in TYPES
    ]
    return table(("path", "type", "parameters of its own"), rows)


def _own_parameters(row: ActivityType) -> list[str]:
    return [name for name, one in parameters_of(row).items() if one.own_list is not None]


def _code_list(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "targets": targets,
        "metrics": metrics,
        "types": types,
        "base fields": base_fields,
        "own fields": own_fields,
        "parameters": parameters,
        "own lists": own_lists,
        **{f"settings {one.__name__}": partial(settings, one) for one in SECTIONS},
    }
)


def main() -> None:
    for name in PAGES:
        page = ROOT / name
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
