"""Email threads as pure functions (contract 2): nothing here reads or writes anything."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import unquote
from hashlib import sha256
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

MAX_LATEST_EMAILS = 5
MAX_PARTICIPANTS = 500
# Of what is older a thread shows only how many there are, and who created the oldest.
MAX_MEMBERS = 2000

# What of every member a thread is made of, beside what only the newest ones have to show.
MEMBER_FIELDS = frozenset(
    {
        "id",
        "activity_at",
        "contact_id",
        "created_by",
        "created_by_name",
        "date_updated",
        "envelope.from",
        "sender",
        "updated_by",
        "updated_by_name",
        "user_id",
        "user_name",
    }
)
# What the newest members have to show besides: the subject and the lead of the newest, previews.
PREVIEW_LISTS = ("bcc", "cc", "to")
PREVIEW_VALUES = (
    "body_preview",
    "date_created",
    "date_sent",
    "date_updated",
    "direction",
    "envelope",
    "id",
    "opens_summary",
    "send_as_id",
    "sender",
    "status",
    "subject",
    "user_id",
)
LATEST_FIELDS = frozenset({"lead_id", "attachments", *PREVIEW_LISTS, *PREVIEW_VALUES})

_MARKS = re.compile(
    r"(?:(?:re|fw|fwd|aw|wg|undeliverable|undelivered): ?)*", re.IGNORECASE | re.ASCII
)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_DIGITS = 43
_LAST_MILLISECOND = datetime(9999, 12, 31, 23, 59, 59, 999_000)
_MILLISECOND = timedelta(milliseconds=1)

_newest_order = itemgetter("activity_at", "id")
_updated_order = itemgetter("date_updated", "id")

Email = Mapping[str, Any]
AnyEmail = TypeVar("AnyEmail", bound=Email)


class Older(NamedTuple):
    """The emails of a long thread that are older than its `MAX_MEMBERS` newest."""

    number: int
    oldest: Email


def to_normalized_subject(subject: str | None) -> str:
    """The subject without its leading marks, white space collapsed; `""` where nothing is left."""
    collapsed = " ".join((subject or "").split())
    return _MARKS.sub("", collapsed, count=1)


def derive_thread_id(organization_id: str, email: Email) -> str:
    """The id of the thread that `email` (an activity filled as contract 1.3 says) belongs to."""
    if given := email.get("thread_id"):
        return str(given)
    lead_id = email.get("lead_id") or ""
    subject = to_normalized_subject(email.get("subject")).casefold()
    rule = ("subject", subject) if subject and lead_id else ("root", _root_message_id(email))
    digest = sha256("\0".join((organization_id, lead_id, *rule)).encode()).digest()
    return f"acti_{_to_base_62(int.from_bytes(digest, 'big')):0>{_ID_DIGITS}}"


def to_preview(email: Email) -> dict[str, Any]:
    """The 17 keys of an EmailPreview."""
    return {
        **{key: email.get(key) for key in PREVIEW_VALUES},
        **{key: _or_empty(email.get(key)) for key in PREVIEW_LISTS},
        "has_attachments": has_attachments(email),
    }


def has_attachments(email: Email) -> bool:
    attachments = email.get("attachments")
    return isinstance(attachments, list) and bool(attachments)


def to_thread(
    members: Iterable[AnyEmail],
    to_preview: Callable[[AnyEmail], Any] = to_preview,
    older: Older | None = None,
) -> dict[str, Any] | None:
    """The derived fields of the thread of these live emails, or None where there are none.

    `MEMBER_FIELDS` are needed of each, `LATEST_FIELDS` of the `MAX_LATEST_EMAILS` newest; of what
    `to_preview` makes of these nothing is asked. `members` may be the newest alone, with the `older`
    ones.
    """
    everyone = newest_first(members)
    if not everyone:
        return None
    emails = everyone[:MAX_MEMBERS]
    newest, oldest = emails[0], older.oldest if older else everyone[-1]
    subject = newest.get("subject")  # that a hand may have written
    time = min(newest["activity_at"], _LAST_MILLISECOND - _MILLISECOND) + _MILLISECOND
    users: Email = next((email for email in emails if email.get("user_id")), {})
    updated = [email for email in emails if email.get("updated_by")]
    updater: Email = max(updated, key=_updated_order, default={})
    return {
        "lead_id": newest.get("lead_id"),
        "contact_id": None,
        "user_id": users.get("user_id"),
        "user_name": users.get("user_name"),
        "users": to_distinct(emails, "user_id"),
        "created_by": oldest.get("created_by"),
        "created_by_name": oldest.get("created_by_name"),
        "updated_by": updater.get("updated_by"),
        "updated_by_name": updater.get("updated_by_name"),
        "date_created": time,
        "date_updated": max(email["date_updated"] for email in emails),
        "activity_at": time,
        "latest_normalized_subject": to_normalized_subject(
            subject if isinstance(subject, str) else ""
        ),
        "n_emails": len(everyone) + (older.number if older else 0),
        "participants": _participants(emails),
        "latest_emails": [to_preview(email) for email in emails[:MAX_LATEST_EMAILS]],
    }


def newest_first(emails: Iterable[AnyEmail]) -> list[AnyEmail]:
    """Highest (`activity_at`, `id`) first."""
    return sorted(emails, key=_newest_order, reverse=True)


def to_distinct(emails: Iterable[Email], field: str) -> list[str]:
    """The values of `field` that are not empty, each once, in the order of the emails."""
    return list(dict.fromkeys(value for email in emails if (value := email.get(field))))


def _participants(emails: Sequence[Email]) -> list[dict[str, str | None]]:
    participants: dict[str, dict[str, str | None]] = {}
    for email in emails:
        for address, name in _senders(email):
            key = address.lower()
            known = participants.get(key)
            if known is None:
                if len(participants) < MAX_PARTICIPANTS:
                    participants[key] = {"email": address, "name": name}
            elif known["name"] is None:
                known["name"] = name
    return list(participants.values())


def _senders(email: Email) -> Iterable[tuple[str, str | None]]:
    """Address and name of each: the envelope's, or else the one that `sender` spells."""
    envelope = email.get("envelope")
    identities = envelope.get("from") if isinstance(envelope, dict) else None
    found = [
        (
            identity["email"],
            name if isinstance(name := identity.get("name"), str) and name else None,
        )
        for identity in (identities if isinstance(identities, list) else ())
        if isinstance(identity, dict) and isinstance(identity.get("email"), str)
    ]
    return found or _parse_sender(email.get("sender") or "")


def _parse_sender(sender: str) -> Iterator[tuple[str, str | None]]:
    """`address` or `"Name" <address>`, the quotes optional. (What `email.utils` makes of
    `Doe, Jane <jane@x.example>` is the address `Doe`.)"""
    text = sender.strip()
    name, bracket, address = text.removesuffix(">").rpartition("<")
    if not bracket or not text.endswith(">"):
        name, address = "", text
    if address.strip():
        yield address.strip(), unquote(name.strip()) or None


def _root_message_id(email: Email) -> str:
    envelope = email.get("envelope") or {}
    candidates = chain(
        email.get("references") or (),
        (envelope.get("in_reply_to"),),
        email.get("message_ids") or (),
        (envelope.get("message_id"),),
    )
    return next((text for text in candidates if isinstance(text, str) and text), email["id"])


def _to_base_62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _or_empty(value: Any) -> Any:
    return [] if value is None else value
