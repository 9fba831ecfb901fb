"""What producers publish: one event for each thing that happens to an activity."""

import json
import random
import string
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consumers.topics import FAMILIES, OTHER_FAMILY
from service.activities.types import BY_NAME

ORGANIZATION = "orga_demo"
Activity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody at the lead."""

    id: str
    name: str
    email: str
    phone: str


@dataclass(frozen=True, slots=True)
class Lead:
    """A company that might buy."""

    id: str
    name: str
    contact: Contact


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who sells."""

    id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Published:
    """A record as it goes to Kafka; `family` says to which of the four topics."""

    family: str
    key: str
    value: bytes


class Journal:
    """Writes events down as they are published, and keeps what must then be listed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 no secret; the same story every time
        self.listed: defaultdict[str, set[str]] = defaultdict(set)
        self._in_time: list[Published] = []
        self._late: list[Published] = []

    @property
    def published(self) -> list[Published]:
        """All records in the order they are published."""
        return self._in_time + self._late

    def in_time(self, since: int = 0) -> list[Published]:
        """What was not told late, but for the first `since` of it."""
        return self._in_time[since:]

    @property
    def latest(self) -> Published:
        """The record that was told last, late ones aside."""
        return self._in_time[-1]

    @contextmanager
    def late(self) -> Iterator[None]:
        """What is told in here reaches Kafka after everything else, whatever its dates."""
        start = len(self._in_time)
        yield
        self._late += self._in_time[start:]
        del self._in_time[start:]

    def new_id(self, prefix: str) -> str:
        characters = string.ascii_letters + string.digits
        return f"{prefix}_{''.join(self.random.choices(characters, k=43))}"

    def create(
        self, type_name: str, lead: Lead, user: User | None, at: datetime, **fields: Any
    ) -> Activity:
        """Something happened; answers the activity, to be changed or deleted later."""
        activity = self.sketch(type_name, lead, user, at) | fields
        self.listed[lead.id].add(activity["id"])
        self._publish("created", activity, at)
        return activity

    def change(self, action: str, activity: Activity, at: datetime, **fields: Any) -> Activity:
        """An activity was changed; answers its new state."""
        changed = activity | fields | {"date_updated": at.isoformat()}
        self._publish(action, changed, at, changed_fields=sorted(fields))
        return changed

    def delete(self, activity: Activity, at: datetime) -> None:
        self.listed[activity["lead_id"]].discard(activity["id"])
        self._publish("deleted", activity, at, data=None, previous_data=activity)

    def repeat(self) -> None:
        """The record before comes once more."""
        self._in_time.append(self._in_time[-1])

    def publish(self, family: str, key: str, value: bytes) -> None:
        """Whatever it is: producers make mistakes, too."""
        self._in_time.append(Published(family, key, value))

    def overlay(self, thread_id: str, lead: Lead, at: datetime, **fields: Any) -> None:
        """What cannot be derived from a thread's emails, such as a summary."""
        thread = self.sketch("EmailThread", lead, None, at) | {"id": thread_id} | fields
        self._publish("updated", thread, at)

    def event(self, action: str, activity: Activity, at: datetime, **more: Any) -> dict[str, Any]:
        """The event as an object, in the shape of contract 1.2."""
        return {
            "id": self.new_id("ev"),
            "object_type": BY_NAME[activity["_type"]].object_type,
            "object_id": activity["id"],
            "action": action,
            "date_created": at.isoformat(),
            "date_updated": at.isoformat(),
            "organization_id": activity["organization_id"],
            "lead_id": activity["lead_id"],
            "user_id": activity["user_id"],
            "data": activity,
            **more,
        }

    def _publish(self, action: str, activity: Activity, at: datetime, **more: Any) -> None:
        value = encode(self.event(action, activity, at, **more))
        self.publish(family_of(activity["_type"]), activity["lead_id"], value)

    def sketch(self, type_name: str, lead: Lead, user: User | None, at: datetime) -> Activity:
        """The fields that every activity has."""
        when = at.isoformat()
        return {
            "_type": type_name,
            "id": self.new_id("acti"),
            "organization_id": ORGANIZATION,
            "lead_id": lead.id,
            "contact_id": lead.contact.id,
            "user_id": user and user.id,
            "user_name": user and user.name,
            "users": [],
            "created_by": user and user.id,
            "created_by_name": user and user.name,
            "updated_by": user and user.id,
            "updated_by_name": user and user.name,
            "date_created": when,
            "date_updated": when,
            "activity_at": when,
        }


def encode(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def family_of(type_name: str) -> str:
    return FAMILIES.get(type_name, OTHER_FAMILY)
