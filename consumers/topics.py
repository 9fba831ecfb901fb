"""Which topic an event goes to, and under which key (contract 1.1)."""

from collections.abc import Sequence
from typing import NamedTuple

from service.activities.events import decode_event, find_type
from service.activities.types import TYPES

# Every topic takes every event: the split only lets a family be scaled apart.
OTHER_FAMILY = "events"
FAMILIES = {
    "Call": "calls",
    "Email": "emails",
    "EmailThread": "emails",
    "LeadStatusChange": "status_changes",
    "OpportunityStatusChange": "status_changes",
}


class Address(NamedTuple):
    """Where a record belongs."""

    topic: str
    key: str


def find_address(record: bytes, topics: Sequence[str]) -> Address:
    """Where a record that is applied belongs: keyed by its lead, where it has none by its activity.

    Raises `Rejected` where it is none.
    """
    event, _ = decode_event(record)
    type_ = find_type(event)
    data = event.get("data")
    inside = data.get("lead_id") if isinstance(data, dict) else None
    key = inside or event.get("lead_id") or event["object_id"]
    return Address(choose_topic(type_.name if type_ else "", topics), str(key))


def choose_topic(type_name: str, topics: Sequence[str]) -> str:
    """The topic whose name ends in the type's family, as in `activity.calls`; else the one that
    ends in `events`, else the last of all."""
    for family in (FAMILIES.get(type_name, OTHER_FAMILY), OTHER_FAMILY):
        for topic in topics:
            if topic.rpartition(".")[2] == family:
                return topic
    return topics[-1]


def find_types(topic: str, topics: Sequence[str]) -> list[str]:
    """The names of the types whose events are published to this topic."""
    return [row.name for row in TYPES if choose_topic(row.name, topics) == topic]
