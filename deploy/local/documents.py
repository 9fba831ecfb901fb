"""`make schemas`: the files that are made from the models, written into the tree (contract 1.7)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consumers.asyncapi import build_document
from service.activities.examples import conversation, deletion, encode, example_event, wrapped
from service.activities.schemas import event_schema, events_schema
from service.activities.types import TYPES
from service.settings import KafkaSettings

ROOT = Path(__file__).parents[2]


def documents() -> Iterator[tuple[str, bytes]]:
    """Each file's path below the root of the tree, and what it holds."""
    yield from _examples()
    for row in TYPES:
        yield f"docs/schemas/{row.object_type}.json", _shown(event_schema(row))
    yield "docs/schemas/event.json", _shown(events_schema())
    yield "docs/asyncapi.json", _shown(build_document(*_topics()))


def _topics() -> tuple[Sequence[str], str]:
    """The topics by default, whatever this process's environment says."""
    fields = KafkaSettings.model_fields
    return fields["topics"].default, fields["dead_letter_topic"].default


def _examples() -> Iterator[tuple[str, bytes]]:
    events = {row.object_type: example_event(row.name) for row in TYPES}
    for name, event in {**events, "deleted": deletion()}.items():
        yield f"examples/{name}.json", _shown(event)
    yield "examples/events.jsonl", _lines(events.values())
    yield "examples/conversation.jsonl", _lines(conversation())
    for name, (_, record) in wrapped().items():
        yield f"examples/{name}", record


def _shown(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(encode(event) + b"\n" for event in events)


def main() -> None:
    for path, content in documents():
        place = ROOT / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


if __name__ == "__main__":
    main()
