"""What a change of the schemas means to those who publish events (contract 1.7).

`docs/schemas/released` holds the schemas of the last release. Whatever they took must still be
taken: `find_narrowings` compares two schemas by rules, keyword by keyword. What it cannot tell it
takes for a narrowing.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from deploy.local.documents import ROOT

RELEASED = ROOT / "docs" / "schemas" / "released"
ADVICE = (
    "Producers of the last release would be cut off. Take the change back or make it wider; where it"
    " must be, tell producers what to send instead, release a new major version, and keep its"
    " schemas by `make release-schemas`."
)
# Keywords that say nothing of what is taken.
_WORDS = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})
_COMPARED = frozenset(
    {"type", "enum", "const", "x-extensible-enum", "required", "properties", "items", "anyOf"}
    | {"additionalProperties", "$ref"}
)
_DEVIATION = "Deviation"

Schema = Mapping[str, Any]


class Narrowing(NamedTuple):
    """A place of an event, and what was taken there and is no more."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def released_schemas() -> dict[str, Schema]:
    """The schemas of the last release, by `object_type`."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(RELEASED.glob("*.json"))}


def find_narrowings(old: Schema, new: Schema) -> list[Narrowing]:
    """What the new schema of a type takes no more."""
    return list(_Comparison(old, new).compare(old, new, ""))


class _Comparison:
    """Two documents, in which references lead to definitions."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old.get("$defs", {}), new.get("$defs", {})
        self._seen: set[tuple[str, str]] = set()

    def compare(self, old: Schema, new: Schema, place: str) -> Iterator[Narrowing]:
        if "$ref" in old and "$ref" in new:
            names = _name(old), _name(new)
            if names in self._seen:
                return
            self._seen.add(names)
        old, new = self._resolved(old, self._old), self._resolved(new, self._new)
        yield from _compare_types(old, new, place)
        yield from _compare_words(old, new, place)
        yield from self._compare_choices(old, new, place)
        yield from self._compare_fields(old, new, place)
        if "items" in new and "items" in old:
            yield from self.compare(old["items"], new["items"], f"{place}[]")
        elif new.get("items"):
            yield Narrowing(place, "its items could be anything, and cannot any more")
        for keyword in sorted((new.keys() | old.keys()) - _COMPARED - _WORDS):
            if keyword in new and old.get(keyword) != new[keyword]:
                yield Narrowing(place, f"{keyword} is another: {new[keyword]!r}")

    def _resolved(self, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
        return definitions[_name(schema)] if "$ref" in schema else schema

    def _compare_choices(self, old: Schema, new: Schema, place: str) -> Iterator[Narrowing]:
        """Each choice of the old schema is taken by one of the new ones."""
        if "anyOf" not in new and "anyOf" not in old:
            return
        choices = [one for one in _choices(new) if not _is_deviation(one)]
        for one in _choices(old):
            if _is_deviation(one):
                if not any(map(_is_deviation, _choices(new))):
                    yield Narrowing(place, "was kept whatever its type, and is refused now")
                continue
            same = [choice for choice in choices if choice.get("title") == one.get("title")]
            faults = [list(self.compare(one, choice, place)) for choice in same or choices]
            if faults and all(faults):
                yield from min(faults, key=len)

    def _compare_fields(self, old: Schema, new: Schema, place: str) -> Iterator[Narrowing]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield Narrowing(_inside(place, name), "could be left out, and is required now")
        for name, field in before.items():
            if name in now:
                yield from self.compare(field, now[name], _inside(place, name))
            else:
                yield Narrowing(_inside(place, name), "was a known field, and is none any more")
        additional = new.get("additionalProperties")
        if isinstance(additional, dict):
            inside = old.get("additionalProperties")
            if isinstance(inside, dict):
                yield from self.compare(inside, additional, _inside(place, "*"))
            else:
                yield Narrowing(_inside(place, "*"), "could be anything, and cannot any more")


def _compare_types(old: Schema, new: Schema, place: str) -> Iterator[Narrowing]:
    if "type" not in new:
        return
    if "type" not in old:
        if not _values(old) and "anyOf" not in old:
            yield Narrowing(place, f"could be anything, and must be {_and(_types(new))} now")
        return
    for lost in sorted(_types(old) - _types(new)):
        if not (lost == "integer" and "number" in _types(new)):
            yield Narrowing(place, f"took {lost}, and takes {_and(_types(new))} only")


def _compare_words(old: Schema, new: Schema, place: str) -> Iterator[Narrowing]:
    """Values that are known; those of an open enumeration too, since they have a meaning."""
    before, now = _values(old), _values(new)
    if now and not before:
        yield Narrowing(place, f"could be any value, and must be one of {_and(now)} now")
    for lost in [value for value in before if now and value not in now]:
        yield Narrowing(place, f"took {lost!r}, and does not know it any more")


def _choices(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf", [schema]))


def _values(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    return list(schema.get("enum", schema.get("x-extensible-enum", ())))


def _types(schema: Schema) -> set[str]:
    types = schema["type"]
    return {types} if isinstance(types, str) else set(types)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _is_deviation(schema: Schema) -> bool:
    return "$ref" in schema and _name(schema) == _DEVIATION


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _and(values: Any) -> str:
    return ", ".join(sorted(map(str, values)))


def main() -> None:
    """Keep the schemas as they are now as those of a release."""
    for path in RELEASED.glob("*.json"):
        path.unlink()
    RELEASED.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "docs" / "schemas").glob("activity.*.json")):
        (RELEASED / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    main()
