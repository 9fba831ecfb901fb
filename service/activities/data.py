"""The `data` of an event to an activity: checked, filled, its date-times read (contract 1.3)."""

from collections.abc import Mapping
from typing import Any

from service.activities.checks import check_fields
from service.activities.datetimes import parse_datetime
from service.activities.limits import check_keys, check_limits
from service.activities.threads import derive_thread_id, to_preview
from service.activities.types import EMAIL, ActivityType
from service.errors import Rejected, RejectionCode

MAX_BODY_PREVIEW = 200
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
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The activity that the event's `data` describes, and the names of its fields that deviate.

    The event around its `data` has been checked; `record` are the bytes it came in, and with
    `is_plain` they show that no limit is exceeded. Takes over `data`. Raises `Rejected` with the
    first code that applies.
    """
    activity = event["data"]
    _check_identity(type_, event, activity)
    try:
        check_keys(activity)
        if not is_plain:
            check_limits(activity)
        _fill(type_, event, activity)
        _parse_datetimes(type_, activity)
        fields = check_fields(type_, activity)
    except ValueError as error:
        raise Rejected("invalid_activity", str(error)) from error
    if type_.name == EMAIL:
        _complete_email(activity, record)
    return activity, fields


def _check_identity(type_: ActivityType, event: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """What `data` says of itself agrees with the event or is absent (contract 1.6 has the order)."""
    said = data.get("_type"), data.get("id"), data.get("organization_id")
    expected = type_.name, event["object_id"], event["organization_id"]
    if said == expected:
        return
    rows = zip(_IDENTITY, said, expected, strict=True)
    differing = [(*row, value) for row, one, value in rows if one not in (None, value)]
    for key, _, _ in differing:
        if not isinstance(data[key], str):
            raise Rejected("invalid_activity", f"{key}: a string or null")
    for key, code, value in differing:
        if data[key] or key == "_type":
            raise Rejected(code, f"{key}: absent, null or {value}, as the event says")


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
    if activity.get("activity_at") is None:
        activity["activity_at"] = activity.get("date_created")


def _parse_datetimes(type_: ActivityType, activity: dict[str, Any]) -> None:
    if activity.get("date_created") is None:
        raise ValueError("date_created: required")
    for field in type_.datetime_fields:
        if (text := activity.get(field)) is not None:
            try:
                activity[field] = parse_datetime(text)
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from error


def _complete_email(email: dict[str, Any], record: bytes) -> None:
    if email["body_preview"] is None:
        email["body_preview"] = (email.get("body_text") or "")[:MAX_BODY_PREVIEW] or None
    email["thread_id"] = derive_thread_id(email["organization_id"], email)
    if len(record) > _SURELY_SMALL_BYTES and _stored_bytes(to_preview(email)) > MAX_PREVIEW_BYTES:
        raise Rejected("too_large", f"the preview part exceeds {MAX_PREVIEW_BYTES} bytes")


def _stored_bytes(value: Any) -> int:
    """The bytes of a value in a document; the thread of an email holds five such previews."""
    if isinstance(value, dict):
        return 5 + sum(2 + len(key.encode()) + _stored_bytes(one) for key, one in value.items())
    if isinstance(value, list):
        return 5 + sum(2 + len(str(i)) + _stored_bytes(one) for i, one in enumerate(value))
    if isinstance(value, str):
        return 5 + len(value.encode())
    return 8
