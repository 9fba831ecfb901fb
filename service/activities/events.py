"""An event, as a producer published it, to a change of one activity (contract 1.2 to 1.6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import ValidationError, core_schema

from service.activities.base import ID_PATTERN
from service.activities.data import parse_data
from service.activities.datetimes import parse_microseconds
from service.activities.decoding import decode_json
from service.activities.types import (
    BY_OBJECT_TYPE,
    EMAIL,
    EMAIL_THREAD,
    PREFIX,
    ActivityType,
    find_meant,
)
from service.activities.validation import Validator
from service.activities.wrappings import unwrapped, without_frame
from service.errors import Rejected

OVERLAY_SUFFIX = "!overlay"
OVERLAY_FIELDS = ("summary", "importance", "comment_summary")

_NEEDS = {
    "id": "required, an id",
    "object_id": "required, an id",
    "organization_id": "required, an id",
    "action": "required, a string",
    "lead_id": "an id or null",
}
_ID = core_schema.str_schema(pattern=ID_PATTERN)
_ENVELOPE = Validator(
    core_schema.typed_dict_schema(
        {
            "id": core_schema.typed_dict_field(_ID),
            "object_id": core_schema.typed_dict_field(_ID),
            "organization_id": core_schema.typed_dict_field(_ID),
            "action": core_schema.typed_dict_field(core_schema.str_schema()),
            "lead_id": core_schema.typed_dict_field(
                core_schema.nullable_schema(_ID), required=False
            ),
        }
    )
)
_is_id = re.compile(ID_PATTERN.strip("^$")).fullmatch


class Change(NamedTuple):
    """A valid event, ready to apply: it sets one activity or deletes it.

    `id` is the stored id (design 3): the activity's own, or an overlay's with `!overlay` behind it;
    `activity["id"]` is the id that is shown.
    `revision` is `"{microseconds since year 1:020d}/{event id}"`; of two changes of one activity
    the higher string wins, whatever came first.
    `activity` holds the activity's own fields, filled as contract 1.3 says, known date-times as
    naive UTC `datetime`s cut to milliseconds; an overlay's `id`, `organization_id` and those of
    `OVERLAY_FIELDS` that its event had; None deletes.
    `thread_id` is the thread of an email, given or derived (contract 2), or of an overlay; None on
    other types and where an email is deleted.
    `is_new` is true when the event says that it created the activity: an insert is worth trying.
    `deviations` names type and field of the known fields that were kept although they are not of
    their type, each once.
    """

    organization_id: str
    id: str
    event_id: str
    revision: str
    activity: dict[str, Any] | None
    thread_id: str | None
    is_new: bool
    deviations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that is no activity event: counted, nothing else."""


IGNORED = Ignored()


def parse_event(value: bytes | None) -> Change | Ignored:
    """Parse the value of one record.

    Raises `Rejected` with the first code that applies (contract 1.6). The size of the record is
    the caller's business.
    """
    if value is None:
        return IGNORED
    event, is_plain = _decode_event(value)
    try:
        type_ = _find_type(event)
        if type_ is None:
            return IGNORED
        _check_event(event)
        return _to_change(type_, event, value, is_plain=is_plain)
    except Rejected as rejected:
        rejected.organization_id = _readable_id(event, "organization_id")
        rejected.event_id = _readable_id(event, "id")
        raise


def _decode_event(value: bytes) -> tuple[dict[str, Any], bool]:
    """The event, and whether nothing in it exceeds a limit."""
    try:
        content, is_plain = decode_json(without_frame(value))
    except ValueError as error:
        raise Rejected("invalid_json", str(error)) from error
    event = unwrapped(content)
    if not isinstance(event, dict):
        raise Rejected("invalid_event", "an event is an object")
    return event, is_plain


def _find_type(event: Mapping[str, Any]) -> ActivityType | None:
    """The type of activity that the event is about, or None where it is about none."""
    object_type = event.get("object_type")
    if not isinstance(object_type, str):
        raise Rejected("invalid_event", "object_type: required, a string")
    type_ = BY_OBJECT_TYPE.get(object_type)
    if type_ is None:
        _check_other_type(object_type)
    return type_


def _check_other_type(object_type: str) -> None:
    """Raises `Rejected` for a type of activity that is not known; its name may be a slip."""
    meant = find_meant(object_type)
    if meant:
        slip = f"object_type: {object_type!r} is not known: {meant.object_type!r} is meant"
        raise Rejected("unknown_type", slip)
    if object_type.startswith(PREFIX):
        raise Rejected("unknown_type", f"object_type: {object_type[:100]!r} is not known")


def _check_event(event: Mapping[str, Any]) -> None:
    """What is examined of the event around its `data` (contract 1.2)."""
    try:
        _ENVELOPE.validate(event)
    except ValidationError as error:
        key = str(error.errors(include_url=False)[0]["loc"][0])
        raise Rejected("invalid_event", f"{key}: {_NEEDS[key]}") from error
    if event["action"] != "deleted" and not isinstance(event.get("data"), dict):
        raise Rejected("invalid_event", "data: required, an object")


def _to_change(
    type_: ActivityType, event: Mapping[str, Any], record: bytes, *, is_plain: bool
) -> Change:
    revision = _to_revision(event)
    activity: dict[str, Any] | None = None
    fields: tuple[str, ...] = ()
    if event["action"] != "deleted":
        activity, fields = parse_data(type_, event, record, is_plain=is_plain)
    id_, thread_id = event["object_id"], None
    if type_.name == EMAIL_THREAD:
        id_, thread_id = id_ + OVERLAY_SUFFIX, id_
        activity = _to_overlay(activity) if activity else None
    elif type_.name == EMAIL and activity:
        thread_id = activity["thread_id"]
    return Change(
        event["organization_id"],
        id_,
        event["id"],
        revision,
        activity,
        thread_id,
        event["action"] == "created",
        tuple([(type_.name, field) for field in fields]) if fields else (),
    )


def _to_revision(event: Mapping[str, Any]) -> str:
    """Contract 1.5.1. Both dates of the event are examined."""
    time = _event_time(event, "date_created")
    if event.get("date_updated") not in (None, event["date_created"]):
        time = _event_time(event, "date_updated")
    return f"{time:020d}/{event['id']}"


def _event_time(event: Mapping[str, Any], key: str) -> int:
    try:
        return parse_microseconds(event.get(key))
    except ValueError as error:
        raise Rejected("invalid_event", f"{key}: {error}") from error


def _to_overlay(thread: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("id", "organization_id", *OVERLAY_FIELDS)
    return {field: thread[field] for field in fields if field in thread}


def _readable_id(event: Mapping[str, Any], key: str) -> str | None:
    value = event.get(key)
    return value if isinstance(value, str) and _is_id(value) else None
