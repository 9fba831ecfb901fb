"""Which topic an event goes to, and under which key (contract 1.1)."""

from collections.abc import Sequence

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
