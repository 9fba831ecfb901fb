"""An event, as a producer published it, to a change of one activity (contract 1.2 to 1.6)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic_core import ValidationError, core_schema

from service.activities.base import ID_PATTERN
from service.activities.checks import Deviation
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
from service.errors import Fault, Rejected

OVERLAY_SUFFIX = "!overlay"
OVERLAY_FIELDS = ("summary", "importance", "comment_summary")

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
_NEEDS = {
    "id": "required, an id",
    "object_id": "required, an id",
    "organization_id": "required, an id",
    "action": "required, a string",
    "lead_id": 'an id, null or ""',
}
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
    `type_name` is the `_type` that the event is about, a delete's too.
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
    type_name: str
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
    event, is_plain = decode_event(value)
    try:
        type_ = find_type(event)
        if type_ is None:
            return IGNORED
        revision, faults = _read_envelope(event)
        if faults:
            inside = _find_faults_inside(type_, event, faults, value, is_plain=is_plain)
            raise Rejected.because_of(*faults, *inside)
        return _to_change(type_, event, revision, value, is_plain=is_plain)
    except Rejected as rejected:
        rejected.organization_id = _readable_id(event, "organization_id")
        rejected.event_id = _readable_id(event, "id")
        raise


def decode_event(value: bytes) -> tuple[dict[str, Any], bool]:
    """The event, out of its wrappings, and whether nothing in it exceeds a limit.

    Raises `Rejected`.
    """
    try:
        content, is_plain = decode_json(without_frame(value))
    except ValueError as error:
        raise Rejected("invalid_json", str(error)) from error
    event = unwrapped(content)
    if not isinstance(event, dict):
        raise Rejected("invalid_event", "an event is an object")
    return event, is_plain


def find_type(event: Mapping[str, Any]) -> ActivityType | None:
    """The type of activity that the event is about, or None where it is about none.

    Raises `Rejected` where it says no type, or one that is not known.
    """
    object_type = event.get("object_type")
    if not isinstance(object_type, str):
        raise Rejected.because_of(Fault("invalid_event", ("object_type",), "required, a string"))
    type_ = BY_OBJECT_TYPE.get(object_type)
    if type_ is None and (find_meant(object_type) or object_type.startswith(PREFIX)):
        raise _unknown(object_type)
    return type_


def _unknown(object_type: str) -> Rejected:
    meant = find_meant(object_type)
    near = get_close_matches(object_type[:100], BY_OBJECT_TYPE, 1)
    word = meant.object_type if meant else "".join(near)
    reason = f"{object_type[:100]!r} is not known" + (f": {word!r} is meant" if word else "")
    return Rejected.because_of(Fault("unknown_type", ("object_type",), reason))


def _read_envelope(event: dict[str, Any]) -> tuple[str, list[Fault]]:
    """The revision (contract 1.5.1), and all that is wrong with the event around its `data`."""
    faults: list[Fault] = []
    if event.get("lead_id") == "":
        event["lead_id"] = None
    try:
        _ENVELOPE.validate(event)
    except ValidationError as error:
        keys = [str(fault["loc"][0]) for fault in error.errors(include_url=False)]
        faults += [Fault("invalid_event", (key,), _NEEDS[key]) for key in keys]
    created = event.get("date_created")
    time = _read_time(event, "date_created", faults)
    if event.get("date_updated") not in (None, created):
        time = _read_time(event, "date_updated", faults)
    if event.get("action") != "deleted" and not isinstance(event.get("data"), dict):
        faults.append(Fault("invalid_event", ("data",), "required, an object"))
    return f"{time:020d}/{event.get('id')}", faults


def _read_time(event: Mapping[str, Any], key: str, faults: list[Fault]) -> int:
    try:
        return parse_microseconds(event.get(key))
    except ValueError as error:
        reason = str(error) if key in event else f"required, {error}"
        faults.append(Fault("invalid_event", (key,), reason))
        return 0


def _find_faults_inside(
    type_: ActivityType,
    event: Mapping[str, Any],
    faults: Iterable[Fault],
    record: bytes,
    *,
    is_plain: bool,
) -> tuple[Fault, ...]:
    """What is wrong with `data`, where the event around it is wrong already."""
    data = event.get("data")
    if event.get("action") == "deleted" or not isinstance(data, dict):
        return ()
    # What is wrong around it is not held against it.
    stand_ins: dict[str, Any] = {
        "object_id": data.get("id") or "-",
        "organization_id": data.get("organization_id") or "-",
        "date_created": "0001-01-01",
        "date_updated": None,
        "lead_id": None,
    }
    wrong = {fault.path[0] for fault in faults}
    mended = {key: value for key, value in stand_ins.items() if key in wrong}
    try:
        parse_data(type_, {**event, **mended}, record, is_plain=is_plain)
    except Rejected as rejected:
        return rejected.faults
    return ()


def _to_change(
    type_: ActivityType,
    event: Mapping[str, Any],
    revision: str,
    record: bytes,
    *,
    is_plain: bool,
) -> Change:
    activity: dict[str, Any] | None = None
    deviations: Sequence[Deviation] = ()
    if event["action"] != "deleted":
        activity, deviations = parse_data(type_, event, record, is_plain=is_plain)
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
        type_.name,
        event["action"] == "created",
        _to_fields(type_, deviations) if deviations else (),
    )


def _to_fields(type_: ActivityType, deviations: Iterable[Deviation]) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys([(type_.name, str(one.path[0])) for one in deviations]))


def _to_overlay(thread: Mapping[str, Any]) -> dict[str, Any]:
    fields = ("id", "organization_id", *OVERLAY_FIELDS)
    return {field: thread[field] for field in fields if field in thread}


def _readable_id(event: Mapping[str, Any], key: str) -> str | None:
    value = event.get(key)
    return value if isinstance(value, str) and _is_id(value) else None
