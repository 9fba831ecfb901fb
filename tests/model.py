"""The contract in plain Python: the oracle that the product is held against.

It shares no code with the product and imports nothing but the standard library. It is slow and
meant to be read next to the contract; every function names its section. A comment that begins with
`silent:` marks a reading where the contract leaves one open.

How a test uses it::

    model = Model()
    for value in record_values:                # in any order, any number of times
        outcome = model.apply(value)           # "applied", "stale", "ignored" or a rejection code
    model.dead_letters                         # [(value, code), ...]

    status, body = model.get(
        "/activity/", [("lead_id", "lead_1"), ("_limit", "10")], "orga_1", {"X-TZ-Offset": "-4"}
    )
    # 200: body is what the product's JSON must equal: {"has_more": ..., "data": [...]} or one row
    # 400: body is a `Refusal`; assert body.is_told_by(answer) with the product's parsed JSON
    # 404: body is None

    model.walk(path, parameters, organization)  # the whole ordered list: every page by `_cursor` or
                                                # `_skip` is a slice of it, whatever the page size
    model.get(path, with_params(query, {"lead_id": ["a", "b"]}), organization)  # a `_params` POST
    model.activities(organization)              # {id: activity as the API shows it, nothing hidden}
    model.threads(organization)                 # {id: derived thread, overlay included}

Left out: what takes time or settings (expiry of delete markers, keys, rates, time limits, a page's
bytes) and what is counted but never shown (deviating fields).

A cursor is opaque, so the model has none: `get` takes any `_cursor` for one that was made up (400).
Paths are given decoded, with or without `/api/v1` and the final slash. Parameters are decoded
name-value pairs as they stand in the query string.
"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

MEBIBYTE = 1024 * 1024

# ---------------------------------------------------------------- the types of contract 1.4

BASE_DATETIMES = {"date_created", "date_updated", "activity_at"}
BASE_KEYS = BASE_DATETIMES | {
    "_type",
    "id",
    "organization_id",
    "lead_id",
    "contact_id",
    "user_id",
    "user_name",
    "users",
    "created_by",
    "created_by_name",
    "updated_by",
    "updated_by_name",
}


@dataclass(frozen=True)
class Type:
    """One row of contract 1.4; the date-times are those of reference-api 3.4."""

    object_type: str
    name: str
    path: str
    datetimes: frozenset[str] = frozenset()
    heavy: frozenset[str] = frozenset()
    id_filters: frozenset[str] = frozenset()
    text_filters: frozenset[str] = frozenset()


def _type(object_type: str, name: str, path: str, datetimes: str = "", **more: str) -> Type:
    words = {key: frozenset(value.split()) for key, value in more.items()}
    known = frozenset(BASE_DATETIMES | set(datetimes.split()))
    return Type(f"activity.{object_type}", name, path, known, **words)


TYPES = [
    _type(
        "call",
        "Call",
        "call",
        "recording_expires_at date_answered",
        heavy="recording_transcript voicemail_transcript",
    ),
    _type("email", "Email", "email", "date_sent date_scheduled"),
    _type("email_thread", "EmailThread", "emailthread"),
    _type("note", "Note", "note", "pinned_at"),
    _type("sms", "SMS", "sms", "date_sent date_scheduled"),
    _type(
        "whatsapp_message",
        "WhatsAppMessage",
        "whatsapp_message",
        # silent: this id is the other system's ("wamid.HBg...=="), so any text is taken for one
        text_filters="external_whatsapp_message_id",
    ),
    _type(
        "meeting",
        "Meeting",
        "meeting",
        "starts_at ends_at user_note_date_updated",
        heavy="transcripts",
    ),
    _type(
        "custom_activity",
        "CustomActivity",
        "custom",
        "last_published_at pinned_at mentions_updated_at",
        id_filters="custom_activity_type_id custom_activity_type_id__in",
    ),
    _type("created", "Created", "created"),
    _type("lead_status_change", "LeadStatusChange", "status_change/lead"),
    _type(
        "opportunity_status_change",
        "OpportunityStatusChange",
        "status_change/opportunity",
        "opportunity_date_won",
        id_filters="opportunity_id",
    ),
    _type("lead_merge", "LeadMerge", "lead_merge"),
    _type("task_completed", "TaskCompleted", "task_completed"),
    _type("form_submission", "FormSubmission", "form_submission", id_filters="form_id form_id__in"),
    _type("import_update", "ImportUpdate", "import_update"),
]
BY_OBJECT_TYPE = {row.object_type: row for row in TYPES}
BY_NAME = {row.name: row for row in TYPES}
BY_PATH = {row.path: row for row in TYPES}

_ID = re.compile(r"[A-Za-z0-9_\-.:@]{1,128}")


def is_id(value: object) -> bool:
    """Contract 1.2: 1 to 128 of `A-Z a-z 0-9 _ - . : @`."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


# ---------------------------------------------------------------- date-times (contract 1.3)

MILLISECOND = 1_000_000  # all times here are whole nanoseconds since 0001-01-01T00:00:00 UTC
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
END_OF_TIME = date.max.toordinal() * DAY  # 10000-01-01, the first time that is out of range


@dataclass(frozen=True, order=True)
class Instant:
    """A known date-time inside an activity: printed only when a row is shown."""

    nanoseconds: int

    def cut(self) -> "Instant":
        """Contract 1.3: milliseconds are stored, finer digits cut off."""
        return Instant(self.nanoseconds // MILLISECOND * MILLISECOND)

    def text(self) -> str:
        """Contract 3.2: `2026-01-02T10:00:00.001000+00:00`, no fraction when it is zero."""
        days, rest = divmod(self.nanoseconds, DAY)
        day = date.fromordinal(days + 1).isoformat()
        seconds, fraction = divmod(rest, SECOND)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        decimals = f".{fraction // 1000:06d}" if fraction // 1000 else ""
        return f"{day}T{clock}{decimals}+00:00"


_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def parse_datetime(text: object, zone: int = 0) -> Instant | None:
    """Contract 1.3, its one grammar. `zone` = nanoseconds east of UTC of a naive or bare one.

    None where it is no date-time.
    """
    match = _DATETIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, decimals, offset = match.groups("")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - 1
    except ValueError:
        return None
    if int(hour or 0) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return None
    if offset == "Z":
        zone = 0
    elif offset:
        # silent: an offset is a time of day, so +23:59 is one and +24:00 or +01:60 is not
        if int(offset[1:3]) > 23 or int(offset[4:6]) > 59:
            return None
        zone = (int(offset[1:3]) * 60 + int(offset[4:6])) * MINUTE
        zone = -zone if offset[0] == "-" else zone
    clock = int(hour or 0) * 60 * MINUTE + int(minute or 0) * MINUTE + int(second or 0) * SECOND
    nanoseconds = days * DAY + clock + int(decimals.ljust(9, "0")) - zone
    return Instant(nanoseconds) if 0 <= nanoseconds < END_OF_TIME else None


# ---------------------------------------------------------------- strict JSON (contract 1.3)


class Rejected(Exception):
    """A record that can never be applied, with its code of contract 1.6."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


_TOKEN = re.compile(
    r"[ \t\n\r]*(?:"
    r"(?P<mark>[\[\]{},:])"
    r'|(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>true|false|null)"
    r"|(?P<end>\Z))"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": True, "false": False, "null": None}
_BEYOND_64_BITS = 10**30


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    position = 0
    while position <= len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Rejected("invalid_json", f"at {position}")
        kind, position = str(match.lastgroup), match.end()
        yield kind, _scalar(kind, match[kind])
        if kind == "end":
            return


def _scalar(kind: str, token: str) -> Any:
    if kind == "text":
        value = json.loads(token)
        if _SURROGATE.search(value):
            raise Rejected("invalid_json", "a lone surrogate")
        return value
    if kind == "number":
        if re.search("[.eE]", token):
            return float(token)
        return int(token) if len(token) < 30 else _BEYOND_64_BITS
    return _WORDS[token] if kind == "word" else token


class _Reader:
    """A value by recursive descent over its tokens, with one token looked at ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def take(self, *kinds: str) -> Any:
        kind, token = self._next
        if kind not in kinds:
            raise Rejected("invalid_json", f"{token!r} where {kinds} belongs")
        if kind != "end":
            self._next = next(self._tokens)
        return token

    def accept(self, mark: str) -> bool:
        is_there = self._next == ("mark", mark)
        if is_there:
            self.take("mark")
        return is_there

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise Rejected("invalid_json", f"{self._next[1]!r} where {mark} belongs")

    def value(self) -> Any:
        if self.accept("["):
            return self._array()
        if self.accept("{"):
            return self._object()
        return self.take("text", "number", "word")

    def _array(self) -> list[Any]:
        items: list[Any] = []
        if self.accept("]"):
            return items
        while True:
            items.append(self.value())
            if self.accept("]"):
                return items
            self.expect(",")

    def _object(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        if self.accept("}"):
            return members
        while True:
            key = self.take("text")
            self.expect(":")
            members[key] = self.value()
            if self.accept("}"):
                return members
            self.expect(",")


@contextmanager
def _room_for(text: str) -> Iterator[None]:
    """Two calls for each level that the text may have."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + 2 * (text.count("[") + text.count("{")))
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def parse_json(value: bytes) -> Any:
    """Contract 1.3, row `invalid_json`. Of equal keys the last counts; any depth is fine."""
    # silent: a byte order mark is not JSON (RFC 8259: must not be added)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("invalid_json", "not UTF-8") from None
    with _room_for(text):
        reader = _Reader(text)
        result = reader.value()
        reader.take("end")
    return result


# ---------------------------------------------------------------- an event (contract 1.2 to 1.6)


@dataclass(frozen=True)
class Change:
    """What a valid event asks for: `activity` is the state to set, None deletes."""

    organization: str
    id: str
    is_overlay: bool
    revision: tuple[int, str]
    activity: dict[str, Any] | None


def parse_event(value: bytes | None, max_record_bytes: int = 4 * MEBIBYTE) -> Change | None:
    """The change in a record's value; None = ignored. Raises `Rejected` in the order of 1.6."""
    if value is None:
        return None
    if len(value) > max_record_bytes:
        raise Rejected("too_large", f"{len(value)} bytes")
    event = unwrapped(value)
    if not isinstance(event, dict) or not isinstance(event.get("object_type"), str):
        raise Rejected("invalid_event", "object_type")
    if _is_slip(event["object_type"]):
        raise Rejected("unknown_type", event["object_type"])
    if not event["object_type"].startswith("activity."):
        return None
    if event["object_type"] not in BY_OBJECT_TYPE:
        raise Rejected("unknown_type", event["object_type"])
    type_ = BY_OBJECT_TYPE[event["object_type"]]
    _check_event(event)
    updated = parse_datetime(event.get("date_updated")) or parse_datetime(event["date_created"])
    assert updated is not None
    return Change(
        organization=event["organization_id"],
        id=event["object_id"],
        is_overlay=type_.name == "EmailThread",
        revision=(updated.nanoseconds // 1000, event["id"]),
        activity=None if event["action"] == "deleted" else _activity(event, type_, updated),
    )


def unwrapped(value: bytes) -> Any:
    """Contract 1.2: what stands inside every wrapping."""
    return _unwrap(parse_json(_without_frame(value)))


def _without_frame(value: bytes) -> bytes:
    """Contract 1.2, first row: 0x00 and at least five more bytes are a frame of five bytes."""
    return value[5:] if re.match(rb"\x00.{5}", value, re.DOTALL) else value


def _is_slip(object_type: str) -> bool:
    """Contract 1.4: a known type's name in another case, with its prefix or without."""
    known = {row.object_type.split(".")[1] for row in TYPES} | {row.name.lower() for row in TYPES}
    if object_type in BY_OBJECT_TYPE:
        return False
    return object_type.lower().removeprefix("activity.") in known


def _unwrap(body: Any) -> Any:
    """Contract 1.2, the rows behind the frame: each wrapping is taken off once, in this order."""
    if isinstance(body, dict) and set(body) == {"schema", "payload"}:
        body = body["payload"]
    if isinstance(body, dict) and {"specversion", "data"} <= set(body):
        body = body["data"]
    if isinstance(body, dict) and {"subscription_id", "event"} <= set(body):
        body = body["event"]
    return body


def _check_event(event: dict[str, Any]) -> None:
    """Contract 1.2: what is examined of the event around `data` (else `invalid_event`)."""
    faults = [key for key in ("id", "object_id", "organization_id") if not is_id(event.get(key))]
    if not isinstance(event.get("action"), str):
        faults.append("action")
    if parse_datetime(event.get("date_created")) is None:
        faults.append("date_created")
    # silent: a date_updated of null counts as absent
    if event.get("date_updated") is not None and parse_datetime(event["date_updated"]) is None:
        faults.append("date_updated")
    if event.get("lead_id") not in (None, "") and not is_id(event["lead_id"]):
        faults.append("lead_id")
    if event.get("action") != "deleted" and not isinstance(event.get("data"), dict):
        faults.append("data")
    if faults:
        raise Rejected("invalid_event", ", ".join(faults))


def _activity(event: dict[str, Any], type_: Type, updated: Instant) -> dict[str, Any]:
    """Contract 1.3: `data` checked and filled, its known date-times as instants."""
    data: dict[str, Any] = event["data"]
    _check_identity(data, event, type_)
    _check_document(data)
    activity = dict(data)
    activity.update(_type=type_.name, id=event["object_id"])
    activity["organization_id"] = event["organization_id"]
    _check_ids(activity)
    _fill(activity, event, type_)
    if not _are_strings(activity["users"]):
        raise Rejected("invalid_activity", "users")
    if data.get("date_created") is None:
        raise Rejected("invalid_activity", "date_created is required")
    _read_datetimes(activity, type_, updated)
    if type_.name == "Email":
        _check_email(activity)
        _fill_email(activity)
        _check_preview_size(activity)
    if bson_size(activity) > 16 * MEBIBYTE:
        raise Rejected("too_large", "beyond MongoDB's 16 MiB")
    return activity


def _check_identity(data: dict[str, Any], event: dict[str, Any], type_: Type) -> None:
    """Contract 1.6, its order: wrong JSON types first, then the three mismatches."""
    rows = [
        ("_type", type_.name, "type_mismatch"),
        ("id", event["object_id"], "id_mismatch"),
        ("organization_id", event["organization_id"], "organization_mismatch"),
    ]
    for key, _, _ in rows:
        if data.get(key) is not None and not isinstance(data[key], str):
            raise Rejected("invalid_activity", key)
    for key, expected, code in rows:
        if data.get(key) is None or (key != "_type" and data[key] == ""):
            continue  # absent, null or (an id) "": filled
        if data[key] != expected:
            raise Rejected(code, f"{data[key]} is not {expected}")


def _check_document(data: dict[str, Any]) -> None:
    """Contract 1.3, row "`invalid_activity` too"."""
    for key in data:
        if key.startswith("$") or key in ("_id", "_meta"):
            raise Rejected("invalid_activity", f"key {key}")
    # silent: scalars are no level of their own, empty objects and arrays are
    open_: list[tuple[Any, int]] = [(data, 1)]
    while open_:
        value, level = open_.pop()
        if isinstance(value, dict | list) and level > 64:
            raise Rejected("invalid_activity", "deeper than 64 levels")
        if isinstance(value, dict):
            if any("\0" in key for key in value):
                raise Rejected("invalid_activity", "a NUL in a key")
            if isinstance(value.get("$ref"), str) and "$id" in value:
                raise Rejected("invalid_activity", "$ref with $id")
            open_.extend((child, level + 1) for child in value.values())
        elif isinstance(value, list):
            open_.extend((child, level + 1) for child in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise Rejected("invalid_activity", "overflows a double")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Rejected("invalid_activity", "beyond signed 64 bits")


def _check_ids(activity: dict[str, Any]) -> None:
    """Contract 1.3, hard fields: ids or null, `""` counting as null."""
    for key in ("lead_id", "contact_id", "user_id", "created_by", "updated_by"):
        if key not in activity:
            continue
        if activity[key] == "":
            activity[key] = None
        if activity[key] is not None and not is_id(activity[key]):
            raise Rejected("invalid_activity", key)


def _fill(activity: dict[str, Any], event: dict[str, Any], type_: Type) -> None:
    """Contract 1.3, row "filled when absent or null", but for the date-times."""
    if activity.get("lead_id") is None:
        activity["lead_id"] = event.get("lead_id") or None
    for key in ("user_id", "created_by", "updated_by"):
        activity.setdefault(key, None)
        activity.setdefault(f"{key.removesuffix('_id')}_name", None)
    if type_.name != "TaskCompleted":
        activity.setdefault("contact_id", None)
    if activity.get("users") is None:
        activity["users"] = []


def _read_datetimes(activity: dict[str, Any], type_: Type, updated: Instant) -> None:
    """Contract 1.3: known top-level date-times parse or are null; two of them are filled."""
    for key in type_.datetimes & activity.keys():
        if activity[key] is None:
            continue
        instant = parse_datetime(activity[key])
        if instant is None:
            raise Rejected("invalid_activity", key)
        activity[key] = instant.cut()
    if activity.get("date_updated") is None:
        activity["date_updated"] = updated.cut()
    if activity.get("activity_at") is None:
        activity["activity_at"] = activity["date_created"]


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_EMAIL_HARD_FIELDS: list[tuple[str, Callable[[object], bool]]] = [
    ("thread_id", lambda value: value == "" or is_id(value)),
    ("subject", _is_string),
    ("sender", _is_string),
    ("body_text", _is_string),
    ("references", _are_strings),
    ("message_ids", _are_strings),
    ("envelope", _is_object),
]


def _check_email(activity: dict[str, Any]) -> None:
    """Contract 1.3, the hard fields of an Email."""
    for key, is_right in _EMAIL_HARD_FIELDS:
        if activity.get(key) is not None and not is_right(activity[key]):
            raise Rejected("invalid_activity", key)


def _fill_email(activity: dict[str, Any]) -> None:
    """Contract 1.3 (`body_preview`) and 2 (an email shows the thread id that was derived)."""
    if activity.get("body_preview") is None:
        activity["body_preview"] = (activity.get("body_text") or "")[:200] or None
    activity["thread_id"] = thread_id(activity)


def _check_preview_size(activity: dict[str, Any]) -> None:
    # silent: where an email is invalid as well as too large, it is invalid_activity; the part is
    # measured as JSON here, so tests stay well away from the limit
    size = len(json.dumps(shown(preview(activity)), ensure_ascii=False).encode())
    if size > MEBIBYTE:
        raise Rejected("too_large", f"the preview part has {size} bytes")


def bson_size(value: Any) -> int:
    """Bytes of a value in BSON (bsonspec.org), without those that the store adds to a document."""
    if isinstance(value, dict):
        return 5 + sum(
            2 + len(key.encode("utf-8", "replace")) + bson_size(item) for key, item in value.items()
        )
    if isinstance(value, list):
        return bson_size({str(index): item for index, item in enumerate(value)})
    if isinstance(value, str):
        return 5 + len(value.encode())
    if value is None:
        return 0
    if isinstance(value, bool):
        return 1
    return 4 if isinstance(value, int) and -(2**31) <= value < 2**31 else 8


# ---------------------------------------------------------------- email threads (contract 2)

MARKS = ("re", "fw", "fwd", "aw", "wg", "undeliverable", "undelivered")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def normalized_subject(subject: str | None) -> str:
    """Contract 2: no leading marks, white space collapsed, case kept."""
    text = (subject or "").strip()
    while text.partition(":")[1] and text.partition(":")[0].lower() in MARKS:
        text = text.partition(":")[2].strip()
    return " ".join(text.split())


def root_message_id(email: Mapping[str, Any]) -> str:
    """Contract 2, rule 3."""
    envelope = email.get("envelope") or {}
    candidates = [
        *(email.get("references") or []),
        envelope.get("in_reply_to"),
        *(email.get("message_ids") or []),
        envelope.get("message_id"),
        email["id"],
    ]
    return next(text for text in candidates if isinstance(text, str) and text)


def thread_id(email: Mapping[str, Any]) -> str:
    """Contract 2: the producer's, else by subject and lead, else by root message id."""
    if email.get("thread_id"):
        return str(email["thread_id"])
    lead = email["lead_id"] or ""
    folded = normalized_subject(email.get("subject")).casefold()
    rule, word = ("subject", folded) if folded and lead else ("root", root_message_id(email))
    text = "\0".join([email["organization_id"], lead, rule, word])
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    digits = ""
    for _ in range(43):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return f"acti_{digits}"


PREVIEW_LISTS = ("to", "cc", "bcc")
PREVIEW_KEYS = (
    *PREVIEW_LISTS,
    "body_preview",
    "date_created",
    "date_sent",
    "date_updated",
    "direction",
    "envelope",
    "has_attachments",
    "id",
    "opens_summary",
    "send_as_id",
    "sender",
    "status",
    "subject",
    "user_id",
)


def preview(email: Mapping[str, Any]) -> dict[str, Any]:
    """Contract 2, `latest_emails`: the 17 keys of reference-api 3.4."""
    row = {key: email.get(key) for key in PREVIEW_KEYS}
    for key in PREVIEW_LISTS:
        if row[key] is None:
            row[key] = []
    attachments = email.get("attachments")
    row["has_attachments"] = isinstance(attachments, list) and len(attachments) > 0
    return row


def stripped(email: Mapping[str, Any]) -> dict[str, Any]:
    """Contract 3.3, mode `true`: the base keys plus the EmailPreview keys."""
    return {key: email[key] for key in BASE_KEYS if key in email} | preview(email)


_SENDER = re.compile(r"(.*)<([^<>]*)>\s*", re.DOTALL)


def senders(email: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Contract 2, `participants`: (address, name) of `envelope.from`, else parsed from `sender`."""
    # silent: an `envelope.from` that is no array holds no sender
    found = (email.get("envelope") or {}).get("from")
    found = found if isinstance(found, list) else []
    people = [
        (item["email"], item.get("name") if isinstance(item.get("name"), str) else None)
        for item in found
        if isinstance(item, dict) and isinstance(item.get("email"), str)
    ]
    return people or _parsed_sender(email.get("sender") or "")


def _parsed_sender(sender: str) -> list[tuple[str, str | None]]:
    # silent: `Name <address>` with or without quotes, else the whole text is the address
    match = _SENDER.fullmatch(sender)
    name, address = (match[1].strip(), match[2].strip()) if match else ("", sender.strip())
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return [(address, name or None)] if address else []


def participants(newest_first: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Contract 2: newest spelling, newest non-empty name, at most 500."""
    people: dict[str, dict[str, Any]] = {}
    for email in newest_first:
        for address, name in senders(email):
            person = people.setdefault(address.lower(), {"email": address, "name": None})
            person["name"] = person["name"] or name or None
    return list(people.values())[:500]


def thread(
    thread_id_: str, members: Sequence[Mapping[str, Any]], overlay: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Contract 2, the table: a pure function of the live members, and the overlay on top."""
    everyone = sorted(members, key=lambda email: (email["activity_at"], email["id"]))[::-1]
    # Beyond 2,000: "n_emails is exact, created_by is of the oldest", all else of the newest.
    newest_first = everyone[:2000]
    newest, oldest = everyone[0], everyone[-1]
    top = newest["activity_at"].nanoseconds + MILLISECOND
    at = Instant(min(top, END_OF_TIME - MILLISECOND))
    with_user = [email for email in newest_first if email["user_id"] is not None]
    nobody = {"user_id": None, "user_name": None, "updated_by": None, "updated_by_name": None}
    user = with_user[0] if with_user else nobody
    updated = max(
        (email for email in newest_first if email["updated_by"] is not None),
        key=lambda email: (email["date_updated"], email["id"]),
        default=nobody,
    )
    row: dict[str, Any] = {
        "_type": "EmailThread",
        "id": thread_id_,
        "organization_id": newest["organization_id"],
        "date_created": at,
        "activity_at": at,
        "date_updated": max(email["date_updated"] for email in newest_first),
        "latest_normalized_subject": normalized_subject(newest.get("subject")),
        "n_emails": len(members),
        "participants": participants(newest_first),
        "latest_emails": [preview(email) for email in newest_first[:5]],
        "lead_id": newest["lead_id"],
        "contact_id": None,
        "user_id": user["user_id"],
        "user_name": user["user_name"],
        "users": list(dict.fromkeys(email["user_id"] for email in with_user)),
        "updated_by": updated["updated_by"],
        "updated_by_name": updated["updated_by_name"],
        "created_by": oldest["created_by"],
        "created_by_name": oldest["created_by_name"],
    }
    for key in ("summary", "importance", "comment_summary"):
        if overlay is not None and key in overlay:
            row[key] = overlay[key]
    return row


def emails_of(members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Contract 2: what the single GET of a thread adds. (The cap in bytes is left out here.)"""
    bodies = {"body_text", "body_html", "body_text_quoted", "body_html_quoted"}
    newest_first = sorted(members, key=lambda email: (email["activity_at"], email["id"]))[::-1]
    return [
        {key: value for key, value in email.items() if key not in bodies}
        for email in newest_first[:500]
    ]


def shown(value: Any) -> Any:
    """Contract 3.2: as JSON, date-times printed."""
    if isinstance(value, Instant):
        return value.text()
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- what was asked (contract 3.2)

Parameters = Sequence[tuple[str, str]]
BOUNDS = [f"{name}__{how}" for name in ("date_created", "activity_at") for how in ("gt", "gte")]
BOUNDS += [f"{name}__{how}" for name in ("date_created", "activity_at") for how in ("lt", "lte")]
MAX_LIMIT = 100
MAX_SKIP = 250_000
MAX_SKIP_ABOVE_200_SCANS = 10_000
CUSTOM = "CustomActivity"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request: the parameters it may be named by, and what the
    text must hold besides."""

    parameters: tuple[str, ...]
    text: str = ""


@dataclass
class Refusal:
    """A 400 (contract 3.6). Where several things are wrong the answer may tell any of them."""

    faults: list[Fault] = field(default_factory=list)

    def add(self, *parameters: str, text: str = "") -> None:
        self.faults.append(Fault(parameters, text))

    def is_told_by(self, answer: Mapping[str, Any]) -> bool:
        """True when the answer has the shape of 3.6 and names a parameter that is at fault."""
        if set(answer) != {"error", "errors", "field-errors"} or not isinstance(
            answer["error"], str
        ):
            return False
        words = " ".join([answer["error"], *answer["errors"], *answer["field-errors"].values()])
        return any(
            name in words and name in answer["field-errors"] and fault.text in words
            for fault in self.faults
            for name in fault.parameters
        )


@dataclass(frozen=True)
class Types:
    """What a type filter lets through: names, and which custom activities (None = every one)."""

    names: frozenset[str]
    custom: frozenset[str] | None = None

    def both(self, other: "Types") -> "Types":
        """Contract 3.3: several type filters intersect as written."""
        limits = [limit for limit in (self.custom, other.custom) if limit is not None]
        custom = frozenset.intersection(*limits) if limits else None
        return Types(self.names & other.names, custom)


@dataclass(frozen=True)
class Question:
    """A listing request that can be honoured."""

    types: Types
    mode: str
    filters: list[tuple[str, frozenset[str]]]
    bounds: list[tuple[str, Instant]]
    sort: str
    descending: bool
    limit: int
    skip: int
    fields: frozenset[str] | None
    is_foreign: bool


def values_of(parameters: Parameters, name: str) -> list[str]:
    """Contract 3.2: a repeated parameter and a comma list mean the same, an empty value counts as
    absent (so `a,,b` is `a,b`), blanks around the parts of a list do not count."""
    texts = [text for given, value in parameters if given == name for text in value.split(",")]
    return [text.strip() for text in texts if text.strip()]


def plain_name(name: str) -> str:
    """Contract 3.2: `name[]` and `name[0]` mean `name`."""
    item = re.fullmatch(r"(.*)\[[0-9]*\]", name, re.DOTALL)
    return item[1] if item and item[1] in ONE_VALUE | LISTS else name


ONE_VALUE = {"_limit", "_skip", "_order_by", "thread_emails", "_cursor", "_since", *BOUNDS}
COMMON_LISTS = {"id__in", "organization_id", "_type", "_type__in", "_fields"} | {
    f"{name}{how}" for name in ("lead_id", "user_id", "contact_id") for how in ("", "__in")
}
LISTS = COMMON_LISTS.union(*(row.id_filters | row.text_filters for row in TYPES))


def known_names(own: Type | None) -> set[str]:
    """Contract 3.1 and 3.2: the parameters of a listing."""
    return ONE_VALUE | COMMON_LISTS | (own.id_filters | own.text_filters if own else set())


def is_strict(headers: Mapping[str, str]) -> bool:
    """RFC 7240: `handling=strict` in a `Prefer` header; the first of a name counts."""
    text = {key.lower(): value for key, value in headers.items()}.get("prefer", "")
    for preference in _preferences(text):
        name, _, value = preference.split(";")[0].partition("=")
        if name.strip().lower() == "handling":
            return value.strip().strip('"').lower() == "strict"
    return False


def _preferences(text: str) -> list[str]:
    """Split at commas that stand in no quoted string."""
    found, is_quoted, is_escaped = [""], False, False
    for letter in text:
        if letter == "," and not is_quoted:
            found.append("")
            continue
        if letter == '"' and not is_escaped:
            is_quoted = not is_quoted
        is_escaped = is_quoted and letter == "\\" and not is_escaped
        found[-1] += letter
    return found


def unknown_parameters(
    parameters: Parameters, headers: Mapping[str, str], known: Iterable[str]
) -> Refusal | None:
    """Contract 3.2: a strict request is told of each parameter that does not exist."""
    names = [name for name, _ in parameters if plain_name(name) not in set(known)]
    if not names or not is_strict(headers):
        return None
    return Refusal([Fault((name,)) for name in names])


class Reading:
    """One request being read: collects its faults, all of them."""

    def __init__(self, parameters: Parameters, headers: Mapping[str, str]) -> None:
        self.parameters = [(plain_name(name), value) for name, value in parameters]
        self.refusal = Refusal()
        for name, _ in parameters:
            # silent: also where its value is empty
            if plain_name(name) != name and plain_name(name) in ONE_VALUE:
                self.refusal.add(plain_name(name))
        self.zone = self._zone({key.lower(): value for key, value in headers.items()})

    def single(self, name: str) -> str | None:
        """A parameter that has one value. Two are a comma list, hence a fault."""
        # silent: the same value twice is two values
        given = [value for key, value in self.parameters if key == name]
        values = [value for value in given if value.replace(",", "").strip()]
        if len(values) > 1:
            self.refusal.add(name)
            return None
        return values[0] if values else None

    def ids(self, name: str) -> frozenset[str] | None:
        values = self.texts(name)
        if not all(is_id(value) for value in values or ()):
            self.refusal.add(name)
        return values

    def texts(self, name: str) -> frozenset[str] | None:
        """A filter by ids: where it is given, it names at least one."""
        values = values_of(self.parameters, name)
        if not values and any(given == name for given, _ in self.parameters):
            self.refusal.add(name)
        return frozenset(values) if values else None

    def number(self, name: str, highest: int, word: str) -> int | None:
        text = self.single(name)
        if text is None:
            return None
        # silent: ASCII digits only, no sign, no spaces
        if not re.fullmatch("[0-9]+", text):
            self.refusal.add(name)
            return None
        if len(text.lstrip("0")) > 7 or int(text.lstrip("0") or "0") > highest:
            self.refusal.add(name, text=f"{word} = {highest}")
            return None
        return int(text.lstrip("0") or "0")

    def instant(self, name: str) -> Instant | None:
        text = self.single(name)
        if text is None:
            return None
        instant = parse_datetime(re.sub(r"(T.*) ([0-9]{2}:[0-9]{2})\Z", r"\1+\2", text), self.zone)
        if instant is None:
            self.refusal.add(name)
        return instant

    def choice(self, name: str, accepted: Sequence[str], default: str) -> str:
        text = self.single(name)
        if text is not None and text not in accepted:
            self.refusal.add(name)
            return default
        return text or default

    def types(self, name: str) -> Types | None:
        """Contract 3.2, row `_type`."""
        values = values_of(self.parameters, name)
        if not values:
            return None
        names, custom = set(), set()
        for value in values:
            if value == "Custom" or value in BY_NAME:
                names.add(CUSTOM if value == "Custom" else value)
            elif re.match("actitype_.", value) and is_id(value):
                custom.add(value)
            else:
                self.refusal.add(name, text=value)
        if CUSTOM in names or not custom:
            return Types(frozenset(names))
        return Types(frozenset(names | {CUSTOM}), frozenset(custom))

    def fields(self) -> frozenset[str] | None:
        """Contract 3.2, row `_fields`; None = not asked for."""
        return frozenset(values_of(self.parameters, "_fields")) or None

    def _zone(self, headers: Mapping[str, str]) -> int:
        """Contract 3.2: hours from -14 to 14, in nanoseconds."""
        text = headers.get("x-tz-offset")
        if text is None:
            return 0
        if not re.fullmatch(r"[+-]?[0-9]{1,2}(\.[0-9]+)?", text) or abs(Decimal(text)) > 14:
            self.refusal.add("X-TZ-Offset")
            return 0
        return int(Decimal(text) * 60 * MINUTE)


def read_question(
    parameters: Parameters, organization: str, headers: Mapping[str, str], own: Type | None
) -> Question | Refusal:
    """Contract 3.2 and 3.3: every parameter and every rule between them."""
    strict = unknown_parameters(parameters, headers, known_names(own))
    if strict is not None:
        return strict
    reading = Reading(parameters, headers)
    refusal = reading.refusal
    filters = {name: reading.ids(name) for name in _id_filters(own)}
    for name in own.text_filters if own else ():
        filters[name] = reading.texts(name)
    organizations = reading.ids("organization_id")
    type_filters = {name: reading.types(name) for name in ("_type", "_type__in")}
    order = reading.choice(
        "_order_by",
        ["-date_created", "date_created", "-activity_at", "activity_at"],
        "-date_created",
    )
    mode = reading.choice("thread_emails", ["false", "true", "only"], "false")
    bounds = {name: reading.instant(name) for name in BOUNDS}
    limit = reading.number("_limit", MAX_LIMIT, "max_limit")
    skip = reading.number("_skip", MAX_SKIP, "max_skip")

    leads = _both(filters["lead_id"], filters["lead_id__in"])
    # silent: "together" counts distinct ids
    together = (filters["lead_id"] or frozenset()) | (filters["lead_id__in"] or frozenset())
    if len(together) > 100:
        refusal.add("lead_id", "lead_id__in")
    if len(filters["id__in"] or ()) > 100:
        refusal.add("id__in")
    if leads is None or len(leads) != 1:
        for name in _one_lead_parameters(own):
            if filters.get(name) is not None or type_filters.get(name) is not None:
                refusal.add(name)
        if order.endswith("activity_at"):
            refusal.add("_order_by")
    for name in BOUNDS:
        if bounds[name] is not None and not name.startswith(order.lstrip("-")):
            refusal.add(name)
    types = _emitted_types(type_filters.values(), own, mode)
    if (1 if leads is None else len(leads)) * len(types.names) > 200 and (
        (skip or 0) > MAX_SKIP_ABOVE_200_SCANS
    ):
        refusal.add("_skip", text=f"max_skip = {MAX_SKIP_ABOVE_200_SCANS}")
    reading.single("_since")  # contract 3.7: of use where a listing is followed
    if values_of(reading.parameters, "_cursor"):
        has_skip = bool(values_of(reading.parameters, "_skip"))
        refusal.add(*(["_cursor", "_skip"] if has_skip else ["_cursor"]))
    if refusal.faults:
        return refusal
    return Question(
        types=types,
        mode=mode,
        filters=[(name, wanted) for name, wanted in filters.items() if wanted is not None],
        bounds=[(name, bound) for name, bound in bounds.items() if bound is not None],
        sort=order.lstrip("-"),
        descending=order.startswith("-"),
        limit=MAX_LIMIT if limit is None else limit,
        skip=skip or 0,
        fields=reading.fields(),
        is_foreign=organizations is not None and organization not in organizations,
    )


def _id_filters(own: Type | None) -> list[str]:
    common = ["lead_id", "user_id", "contact_id"]
    names = [*common, *(f"{name}__in" for name in common), "id__in"]
    return [*names, *sorted(own.id_filters)] if own else names


def _one_lead_parameters(own: Type | None) -> list[str]:
    """Contract 3.1 and 3.2: what needs exactly one lead."""
    if own is None:
        people = ["user_id", "user_id__in", "contact_id", "contact_id__in"]
        return [*people, "_type", "_type__in"]
    custom = [name for name in own.id_filters if name.startswith("custom_activity_type_id")]
    return ["_type", "_type__in", *custom]


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _emitted_types(filters: Iterable[Types | None], own: Type | None, mode: str) -> Types:
    """Contract 3.3: several type filters intersect as written, then the mode applies."""
    asked = [one for one in filters if one is not None]
    if own is not None:
        asked.append(Types(frozenset({own.name})))
    types = Types(frozenset(BY_NAME) - (frozenset() if asked else {"EmailThread"}))
    for one in asked:
        types = types.both(one)
    names = set(types.names)
    if mode != "false" and "Email" in names:
        names.add("EmailThread")
    if mode == "only":
        names.discard("Email")
    return Types(frozenset(names), types.custom)


def with_params(query: Parameters, params: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Contract 3.1: the parameters of a `_params` POST; None = a value that is a 400.

    `_params` wins over the query string, but (3.4) a `_cursor` in the query string beats the
    body's, and the body's `_skip` is then ignored.
    """
    has_cursor = any(name == "_cursor" and value for name, value in query)
    body = {
        name: value
        for name, value in params.items()
        if not (has_cursor and name in ("_cursor", "_skip"))
    }
    texts = {name: _param_text(value) for name, value in body.items() if value is not None}
    if any(text is None for text in texts.values()):
        return None
    overridden = {plain_name(name) for name in body}
    kept = [(name, value) for name, value in query if plain_name(name) not in overridden]
    return kept + [(name, text) for name, text in texts.items() if text is not None]


def _param_text(value: Any) -> str | None:
    if isinstance(value, list):
        # silent: what is no text, number or boolean inside a list is a 400 too
        parts = [_param_text(item) if not isinstance(item, list) else None for item in value]
        return None if None in parts else ",".join(part for part in parts if part is not None)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value)
    return value if isinstance(value, str) else None


# ---------------------------------------------------------------- the model


class SomeText:
    """Equal to any text that is not empty: what the model cannot know."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other != ""

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True)
class Row:
    """An activity or a thread that a listing may show, with what its filters look at."""

    content: dict[str, Any]
    user_ids: frozenset[str]
    contact_ids: frozenset[str]

    @property
    def is_thread(self) -> bool:
        return bool(self.content["_type"] == "EmailThread")

    def place(self, sort: str) -> tuple[Instant, str, bool]:
        """Contract 3.2: total order; a thread counts as greater than an activity with its id."""
        return self.content[sort], self.content["id"], self.is_thread


class Model:
    """Events in, in any order and any number of times; HTTP answers out."""

    def __init__(self, max_record_bytes: int = 4 * MEBIBYTE) -> None:
        self.max_record_bytes = max_record_bytes
        self.dead_letters: list[tuple[bytes, str]] = []
        self._states: dict[tuple[str, str, bool], Change] = {}
        self._rows: dict[str, list[Row]] = {}

    # ------------------------------------------------------------ events in

    def apply(self, value: bytes | None) -> str:
        """Contract 1.5: the state of an activity is that of its highest revision seen."""
        try:
            change = parse_event(value, self.max_record_bytes)
        except Rejected as rejected:
            self.dead_letters.append((value or b"", rejected.code))
            return rejected.code
        if change is None:
            return "ignored"
        key = (change.organization, change.id, change.is_overlay)
        if key in self._states and self._states[key].revision >= change.revision:
            return "stale"
        self._states[key] = change
        self._rows.pop(change.organization, None)
        return "applied"

    # ------------------------------------------------------------ what is there

    def organizations(self) -> list[str]:
        return sorted({organization for organization, _, _ in self._states})

    def activities(self, organization: str) -> dict[str, Any]:
        """Every live activity by id as the API shows it, heavy fields included."""
        return {activity["id"]: shown(activity) for activity in self._live(organization)}

    def threads(self, organization: str) -> dict[str, Any]:
        """Every derived thread by id, in its form of the listing."""
        return {
            id_: shown(thread(id_, members, self._overlay(organization, id_)))
            for id_, members in self._members(organization).items()
        }

    def _live(self, organization: str) -> list[dict[str, Any]]:
        return [
            change.activity
            for (owner, _, is_overlay), change in self._states.items()
            if owner == organization and not is_overlay and change.activity is not None
        ]

    def _members(self, organization: str) -> dict[str, list[dict[str, Any]]]:
        """Contract 2: a thread is all the organization's live emails with that thread id."""
        members: dict[str, list[dict[str, Any]]] = {}
        for activity in self._live(organization):
            if activity["_type"] == "Email":
                members.setdefault(activity["thread_id"], []).append(activity)
        return members

    def _overlay(self, organization: str, id_: str) -> dict[str, Any] | None:
        change = self._states.get((organization, id_, True))
        return change.activity if change else None

    def _all_rows(self, organization: str) -> list[Row]:
        if organization not in self._rows:
            rows = [
                Row(one, _present([one["user_id"]]), _present([one.get("contact_id")]))
                for one in self._live(organization)
            ]
            for id_, members in self._members(organization).items():
                rows.append(
                    Row(
                        thread(id_, members, self._overlay(organization, id_)),
                        _present(email["user_id"] for email in members),
                        _present(email["contact_id"] for email in members),
                    )
                )
            self._rows[organization] = rows
        return self._rows[organization]

    # ------------------------------------------------------------ HTTP out

    def get(
        self,
        path: str,
        parameters: Parameters,
        organization: str,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Contract 3.1: what a GET answers; see the top of this module."""
        own, id_, is_known = _route(path)
        if not is_known:
            return 404, None
        if path.strip("/").removeprefix("api/v1/") == "me":
            refusal = unknown_parameters(parameters, headers or {}, ())
            return (400, refusal) if refusal else (200, _me(organization))
        if id_ is not None:
            refusal = unknown_parameters(parameters, headers or {}, ["_fields"])
            return (400, refusal) if refusal else self._single(own, id_, parameters, organization)
        question = read_question(parameters, organization, headers or {}, own)
        if isinstance(question, Refusal):
            return 400, question
        rows = self._matching(question, organization)[question.skip :]
        page = [self._shown_row(row, question) for row in rows[: question.limit]]
        return 200, {"has_more": len(rows) > question.limit, "data": page}

    def walk(
        self,
        path: str,
        parameters: Parameters,
        organization: str,
        headers: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Contract 3.4: all rows of a listing that can be honoured, whatever its `_limit`."""
        question = read_question(parameters, organization, headers or {}, _route(path)[0])
        assert isinstance(question, Question), question
        rows = self._matching(question, organization)[question.skip :]
        return [self._shown_row(row, question) for row in rows]

    def _matching(self, question: Question, organization: str) -> list[Row]:
        if question.is_foreign:
            return []
        rows = [row for row in self._all_rows(organization) if _matches(row, question)]
        return sorted(rows, key=lambda row: row.place(question.sort), reverse=question.descending)

    def _shown_row(self, row: Row, question: Question) -> dict[str, Any]:
        is_stripped = row.content["_type"] == "Email" and question.mode == "true"
        content = stripped(row.content) if is_stripped else row.content
        return _projected(content, question.fields)

    def _single(
        self, own: Type | None, id_: str, parameters: Parameters, organization: str
    ) -> tuple[int, Any]:
        """Contract 3.1: one activity; without a type in the path, else the thread of that id."""
        found = [
            row
            for row in sorted(self._all_rows(organization), key=lambda row: row.is_thread)
            if row.content["id"] == id_ and (own is None or row.content["_type"] == own.name)
        ]
        if not found:
            return 404, None
        content = dict(found[0].content)
        if found[0].is_thread:
            content["emails"] = emails_of(self._members(organization)[id_])
        return 200, _projected(content, Reading(parameters, {}).fields())


def _present(values: Iterable[str | None]) -> frozenset[str]:
    return frozenset(value for value in values if value is not None)


def _route(path: str) -> tuple[Type | None, str | None, bool]:
    """Contract 3.1: (own list's type, activity id, is such a path known)."""
    parts = path.removeprefix("/api/v1").removeprefix("/").removesuffix("/").split("/")
    rest = "/".join(parts[1:])
    if parts in (["me"], ["activity"]):
        return None, None, True
    if parts[0] != "activity" or not parts[-1]:
        return None, None, False
    if rest in BY_PATH:
        return BY_PATH[rest], None, True
    type_path, _, id_ = rest.rpartition("/")
    return BY_PATH.get(type_path), id_, is_id(id_) and (not type_path or type_path in BY_PATH)


def _me(organization: str) -> dict[str, Any]:
    """Contract 3.1: who the key is, is not known here."""
    text = SomeText()
    return {"id": text, "name": text, "organizations": [{"id": organization, "name": text}]}


def _matches(row: Row, question: Question) -> bool:
    content = row.content
    if content["_type"] not in question.types.names:
        return False
    if content["_type"] == CUSTOM and question.types.custom is not None:
        type_id = content.get("custom_activity_type_id")
        if not isinstance(type_id, str) or type_id not in question.types.custom:
            return False
    return all(_holds(row, name, wanted) for name, wanted in question.filters) and all(
        _is_within(content[question.sort], name, bound) for name, bound in question.bounds
    )


def _holds(row: Row, name: str, wanted: frozenset[str]) -> bool:
    """One filter. Contract 3.2: on a thread, a user or contact filter matches if any member's
    does, each filter by itself."""
    key = name.removesuffix("__in")
    if key == "user_id":
        return bool(row.user_ids & wanted)
    if key == "contact_id":
        return bool(row.contact_ids & wanted)
    value = row.content.get(key)
    return isinstance(value, str) and value in wanted


def _is_within(value: Instant, name: str, bound: Instant) -> bool:
    return {
        "gt": value > bound,
        "gte": value >= bound,
        "lt": value < bound,
        "lte": value <= bound,
    }[name.rpartition("__")[2]]


def _projected(content: Mapping[str, Any], fields: frozenset[str] | None) -> dict[str, Any]:
    """Contract 3.2: `_fields`, and the heavy fields only through it."""
    if fields is None:
        heavy = BY_NAME[content["_type"]].heavy
        return {key: shown(value) for key, value in content.items() if key not in heavy}
    everything = "_all" in fields
    return {key: shown(value) for key, value in content.items() if everything or key in fields}
