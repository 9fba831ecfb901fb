"""The `data` of an event to an activity: checked, filled, its date-times read (contract 1.3)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from service.activities.checks import Deviation, find_deviations
from service.activities.datetimes import parse_datetime
from service.activities.limits import find_excesses, find_reserved_keys
from service.activities.threads import derive_thread_id, to_preview
from service.activities.types import EMAIL, ActivityType
from service.errors import Fault, Path, Rejected, RejectionCode

MAX_BODY_PREVIEW = 200
MAX_EXCESSES = 100
MAX_PREVIEW_BYTES = 1024 * 1024
# A byte of JSON becomes eight at most: in `1,` a number, its place in the array and its type.
_SURELY_SMALL_BYTES = MAX_PREVIEW_BYTES // 8
# What `data` may repeat of its event, and the code where it says something else.
_IDENTITY: tuple[tuple[str, RejectionCode], ...] = (
    ("_type", "type_mismatch"),
    ("id", "id_mismatch"),
    ("organization_id", "organization_mismatch"),
)


def parse_data(
    type_: ActivityType, event: Mapping[str, Any], record: bytes, *, is_plain: bool
) -> tuple[dict[str, Any], Sequence[Deviation]]:
    """The activity that the event's `data` describes, and where it deviates from its type.

    The event around its `data` has been checked; `record` are the bytes it came in, and with
    `is_plain` they show that no limit is exceeded. Takes over `data`. Raises `Rejected` with all
    that is wrong with it.
    """
    activity = event["data"]
    mismatches = _find_mismatches(type_, event, activity)
    invalid: list[tuple[Path, str]] = []
    if "_id" in activity or "_meta" in activity:  # asked here, since it is asked of every record
        invalid += find_reserved_keys(activity)
    if not is_plain:
        invalid += islice(find_excesses(activity), MAX_EXCESSES)
    _fill(type_, event, activity)
    _read_datetimes(type_, activity, invalid)
    deviations = find_deviations(type_, activity)
    if deviations:
        invalid += [(one.path, one.reason) for one in deviations if one.is_hard]
    if mismatches or invalid:
        invalid.sort(key=str)
        faults = [Fault("invalid_activity", ("data", *path), reason) for path, reason in invalid]
        raise Rejected.because_of(*mismatches, *faults)
    if type_.name == EMAIL:
        _complete_email(activity, record)
    return activity, deviations


def _find_mismatches(
    type_: ActivityType, event: Mapping[str, Any], data: Mapping[str, Any]
) -> Sequence[Fault]:
    """What `data` says of itself agrees with the event or is absent (contract 1.6 has the order)."""
    said = data.get("_type"), data.get("id"), data.get("organization_id")
    expected = type_.name, event["object_id"], event["organization_id"]
    if said == expected:
        return ()
    rows = zip(_IDENTITY, said, expected, strict=True)
    differing = [(*row, one, value) for row, one, value in rows if one not in (None, value)]
    wrong = [
        Fault("invalid_activity", ("data", key), "a string or null")
        for key, _, one, _ in differing
        if not isinstance(one, str)
    ]
    mismatches = [
        Fault(code, ("data", key), f"absent, null or {value}, as the event says")
        for key, code, one, value in differing
        if isinstance(one, str) and (one or key == "_type")
    ]
    return wrong + mismatches


def _fill(type_: ActivityType, event: Mapping[str, Any], activity: dict[str, Any]) -> None:
    """Contract 1.3, all but what is derived from an email's other fields."""
    activity["_type"] = type_.name
    activity["id"] = event["object_id"]
    activity["organization_id"] = event["organization_id"]
    for field in type_.id_fields:
        if activity.get(field) == "":
            activity[field] = None
    for field in type_.nullable_fields:
        activity.setdefault(field, None)
    if activity["lead_id"] is None:
        activity["lead_id"] = event.get("lead_id")
    if activity.get("users") is None:
        activity["users"] = []
    if activity.get("date_updated") is None:
        activity["date_updated"] = event.get("date_updated") or event["date_created"]


def _read_datetimes(
    type_: ActivityType, activity: dict[str, Any], invalid: list[tuple[Path, str]]
) -> None:
    """Put `datetime`s in the place of texts; what is none is `invalid`, and taken out."""
    if activity.get("date_created") is None:
        activity.pop("date_created", None)
        invalid.append((("date_created",), "required"))
    for field in type_.datetime_fields:
        if (text := activity.get(field)) is not None:
            try:
                activity[field] = parse_datetime(text)
            except ValueError as error:
                del activity[field]
                invalid.append(((field,), str(error)))
    if activity.get("activity_at") is None:
        # Where even that is missing, its fault has been named.
        activity["activity_at"] = activity.get("date_created", datetime.min)


def _complete_email(email: dict[str, Any], record: bytes) -> None:
    if email["body_preview"] is None:
        email["body_preview"] = (email.get("body_text") or "")[:MAX_BODY_PREVIEW] or None
    email["thread_id"] = derive_thread_id(email["organization_id"], email)
    if len(record) > _SURELY_SMALL_BYTES and _stored_bytes(to_preview(email)) > MAX_PREVIEW_BYTES:
        raise Rejected("too_large", f"data: the preview part exceeds {MAX_PREVIEW_BYTES} bytes")


def _stored_bytes(value: Any) -> int:
    """The bytes of a value in a document; the thread of an email holds five such previews."""
    if isinstance(value, dict):
        return 5 + sum(2 + len(key.encode()) + _stored_bytes(one) for key, one in value.items())
    if isinstance(value, list):
        return 5 + sum(2 + len(str(i)) + _stored_bytes(one) for i, one in enumerate(value))
    if isinstance(value, str):
        return 5 + len(value.encode())
    return 8
