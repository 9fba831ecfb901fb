"""The AsyncAPI document of all topics, from the models and the settings (contract 1.7)."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_args

from consumers.dead_letters import (
    CLASS_HEADER,
    CODE_HEADER,
    EVENT_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    ORGANIZATION_HEADER,
    PARTITION_HEADER,
    STAGE_HEADER,
    TOPIC_HEADER,
)
from consumers.records import ATTEMPT_HEADER, MAX_ATTEMPT
from consumers.topics import find_types
from service.activities.base import ID_PATTERN
from service.activities.schemas import event_schema
from service.activities.types import TYPES
from service.errors import RejectionCode

Document = dict[str, Any]

DEAD_LETTER = "dead_letter"
_DEFINITIONS = "#/$defs/"
_SCHEMAS = "#/components/schemas/"
_DESCRIPTION = """What happens to the leads of an organization, as events: a call was made, an email
came, a status changed. An event carries the whole activity as it is afterwards.

Any order, any repetition gives the same timeline: of two events of one activity the later one counts
(`date_updated`, then `id`). A record that can never be applied becomes a dead letter, and hurts no
other. An event may stand in one of each of these wrappings: the frame of a schema registry's
serializer, Kafka Connect's `schema` and `payload`, a CloudEvent (structured; in binary mode the value
is the event), a webhook body."""
_KEY = {
    "type": "string",
    "pattern": ID_PATTERN,
    "description": "The lead's id, so that a lead's events keep their order. Correctness does not"
    " depend on it.",
}
_SECURITY = {
    "PLAIN": {"type": "plain", "description": "SASL/PLAIN"},
    "SCRAM-SHA-256": {"type": "scramSha256", "description": "SASL/SCRAM-SHA-256"},
    "SCRAM-SHA-512": {"type": "scramSha512", "description": "SASL/SCRAM-SHA-512"},
    "TLS": {"type": "X509", "description": "A client's certificate."},
}
_ATTEMPT = {
    "type": "string",
    "pattern": f"^[0-9]{{1,{len(str(MAX_ATTEMPT))}}}$",
    "description": "How often the record was a dead letter; `dead-letters replay` sets it.",
}
# Of a dead letter (contract 1.6).
_LETTER_HEADERS: Mapping[str, str] = {
    TOPIC_HEADER: "The topic that the record came from.",
    PARTITION_HEADER: "Its partition.",
    OFFSET_HEADER: "Its offset.",
    STAGE_HEADER: "Where it failed.",
    CLASS_HEADER: "The error.",
    MESSAGE_HEADER: "All that is wrong with it, and where.",
    CODE_HEADER: "Why, in a word.",
    ORGANIZATION_HEADER: "Whose it is, where that could be read.",
    EVENT_HEADER: "The event's id, where that could be read.",
    ATTEMPT_HEADER: "How often it was a dead letter, this time included.",
}
_NOT_ALWAYS = {ORGANIZATION_HEADER, EVENT_HEADER}


def build_document(topics: Sequence[str], dead_letter_topic: str) -> Document:
    """AsyncAPI 3.0, of the consumers as the application: they receive events and send letters."""
    names = {row.name: row.object_type for row in TYPES}
    channels = {
        topic: _channel(topic, [names[one] for one in find_types(topic, topics)])
        for topic in topics
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Activity events",
            "version": version("activity-service"),
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": _server("kafka"), "kafka-secure": _server("kafka-secure")},
        "channels": channels | {dead_letter_topic: _letter_channel(dead_letter_topic)},
        "operations": {
            **{f"receive.{name}": _operation("receive", name) for name in channels},
            f"send.{dead_letter_topic}": _operation("send", dead_letter_topic),
        },
        "components": {
            "messages": {row.object_type: _message(row.object_type) for row in TYPES}
            | {DEAD_LETTER: _letter()},
            "schemas": _schemas(),
            "securitySchemes": dict(_SECURITY),
        },
    }


def _server(protocol: str) -> Document:
    server: Document = {
        "host": "{bootstrap_servers}",
        "protocol": protocol,
        "description": "`ACTIVITY_KAFKA_BOOTSTRAP_SERVERS`",
        "variables": {"bootstrap_servers": {"default": "localhost:9092"}},
    }
    if protocol == "kafka-secure":
        server["security"] = [
            {"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY
        ]
    return server


def _channel(topic: str, usual: Sequence[str]) -> Document:
    return {
        "address": topic,
        "description": f"Takes every event; usually {', '.join(usual) or 'none'}.",
        "messages": {
            row.object_type: {"$ref": f"#/components/messages/{row.object_type}"} for row in TYPES
        },
        "bindings": {"kafka": {"topic": topic}},
    }


def _letter_channel(topic: str) -> Document:
    return {
        "address": topic,
        "description": "Records that can never be applied.",
        "messages": {DEAD_LETTER: {"$ref": f"#/components/messages/{DEAD_LETTER}"}},
        "bindings": {"kafka": {"topic": topic}},
    }


def _operation(action: str, channel: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _message(object_type: str) -> Document:
    return {
        "name": object_type,
        "title": object_type,
        "contentType": "application/json",
        "headers": {"type": "object", "properties": {ATTEMPT_HEADER: _ATTEMPT}},
        "payload": {"$ref": f"{_SCHEMAS}{object_type}"},
        "bindings": {"kafka": {"key": _KEY}},
    }


def _letter() -> Document:
    headers: Document = {
        name: {"type": "string", "description": words} for name, words in _LETTER_HEADERS.items()
    }
    headers[CODE_HEADER]["enum"] = list(get_args(RejectionCode))
    return {
        "name": DEAD_LETTER,
        "title": "Dead letter",
        "contentType": "application/octet-stream",
        "description": "A record as it came: key, value and headers, and headers that say why.",
        "headers": {
            "type": "object",
            "required": [name for name in headers if name not in _NOT_ALWAYS],
            "properties": headers,
        },
        "payload": {"description": "The record's own bytes, which may be no JSON."},
    }


def _schemas() -> Document:
    """The schemas of all events, with their parts beside them, as AsyncAPI's own dialect has it."""
    schemas: Document = {}
    for row in TYPES:
        schema = event_schema(row)
        schemas |= schema.pop("$defs")
        del schema["$schema"], schema["$id"]
        schemas[row.object_type] = schema
    moved: Document = _moved(schemas)
    return moved


def _moved(value: Any) -> Any:
    """`value`, its references to definitions led to the components."""
    if isinstance(value, list):
        return [_moved(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: one.replace(_DEFINITIONS, _SCHEMAS)
        if key == "$ref" and isinstance(one, str)
        else _moved(one)
        for key, one in value.items()
    }
