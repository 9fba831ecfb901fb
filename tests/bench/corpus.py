"""Seeded data: about 2 KB an activity, a realistic mix of types, leads from 1 to 100,000."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson

from service.activities.events import Change, parse_event
from service.activities.threads import to_thread

START = datetime(2024, 1, 1, tzinfo=UTC)
PROSE = (
    "quote budget renewal demo contract pricing seat rollout pilot security legal invoice onboarding"
    " timeline stakeholder integration champion discount quarter forecast blocker feature roadmap"
    " migration training support launch review signature procurement"
)
WORDS = PROSE.split()
ID_CHARACTERS = string.digits + string.ascii_letters
# Share of each type where nothing else is asked for; emails are asked for by name.
MIX = {
    "Call": 30,
    "Note": 14,
    "SMS": 14,
    "Meeting": 10,
    "CustomActivity": 8,
    "LeadStatusChange": 6,
    "OpportunityStatusChange": 5,
    "TaskCompleted": 5,
    "WhatsAppMessage": 4,
    "Created": 2,
    "FormSubmission": 2,
}
OBJECT_TYPES = {
    "Call": "activity.call",
    "Email": "activity.email",
    "Note": "activity.note",
    "SMS": "activity.sms",
    "Meeting": "activity.meeting",
    "CustomActivity": "activity.custom_activity",
    "LeadStatusChange": "activity.lead_status_change",
    "OpportunityStatusChange": "activity.opportunity_status_change",
    "TaskCompleted": "activity.task_completed",
    "WhatsAppMessage": "activity.whatsapp_message",
    "Created": "activity.created",
    "FormSubmission": "activity.form_submission",
    "LeadMerge": "activity.lead_merge",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one activity goes."""

    organization_id: str
    lead_id: str
    type: str
    at: datetime
    thread_id: str | None = None


@cache
def to_id(prefix: str, number: int) -> str:
    """As long as the reference system's, of the same characters."""
    source = random.Random(f"{prefix}{number}")
    return f"{prefix}_{''.join(source.choices(ID_CHARACTERS, k=43))}"


def text(source: random.Random, size: int) -> str:
    words: list[str] = []
    length = 0
    while length < size:
        word = source.choice(WORDS)
        words.append(word)
        length += len(word) + 1
    return " ".join(words)


def activity(source: random.Random, place: Place, number: int) -> dict[str, Any]:
    """One activity as the HTTP API would return it, about 2 KB as JSON."""
    at = place.at.isoformat()
    base: dict[str, Any] = {
        "_type": place.type,
        "id": to_id("acti", number),
        "organization_id": place.organization_id,
        "lead_id": place.lead_id,
        "user_id": to_id("user", number % 23),
        "user_name": "Ada Byron",
        "users": [],
        "created_by": None,
        "created_by_name": None,
        "updated_by": None,
        "updated_by_name": None,
        "date_created": at,
        "date_updated": at,
        "activity_at": at,
    }
    if place.type != "TaskCompleted":
        base["contact_id"] = to_id("cont", number % 7)
    return base | BODIES.get(place.type, prose_body)(source, place, number)


def prose_body(source: random.Random, _: Place, __: int) -> dict[str, Any]:
    prose = text(source, 700)
    return {"note": prose, "note_html": f"<body><p>{prose}</p></body>", "title": None}


def call_body(source: random.Random, place: Place, number: int) -> dict[str, Any]:
    prose = text(source, 350)
    return {
        "status": "completed",
        "direction": "outbound" if number % 3 else "inbound",
        "disposition": "answered",
        "source": "Close.io",
        "duration": number % 1800,
        "cost": "2",
        "phone": "+15555550100",
        "remote_phone": "+15555550100",
        "remote_phone_formatted": "+1 555-555-0100",
        "local_phone": "+15555550101",
        "local_phone_formatted": "+1 555-555-0101",
        "local_country_iso": "US",
        "remote_country_iso": "US",
        "note": prose,
        "note_html": f"<body><p>{prose}</p></body>",
        "recording_url": f"https://app.example.com/recordings/{number}/",
        "voicemail_url": None,
        "voicemail_duration": 0,
        "has_recording": True,
        "is_forwarded": False,
        "is_joinable": False,
        "is_to_group_number": False,
        "recording_expires_at": place.at.isoformat(),
        "date_answered": place.at.isoformat(),
        "dialer_id": None,
        "coach_legs": [],
        "sequence_id": None,
        "sequence_name": None,
        "sequence_subscription_id": None,
    }


def email_body(source: random.Random, place: Place, number: int) -> dict[str, Any]:
    sender = {"email": f"contact{number % 7}@example.com", "name": "Grace Hopper"}
    prose = text(source, 400)
    return {
        "status": "inbox",
        "direction": "incoming",
        "subject": "Re: Quote",
        "sender": "Grace Hopper <contact@example.com>",
        "to": ["ada@example.com"],
        "cc": [],
        "bcc": [],
        "body_text": prose,
        "body_html": f"<body><p>{prose}</p></body>",
        "body_preview": prose[:200],
        "attachments": [],
        "envelope": {
            "from": [sender],
            "sender": [sender],
            "to": [{"email": "ada@example.com", "name": "Ada Byron"}],
            "cc": [],
            "bcc": [],
            "reply_to": [],
            "date": "Thu, 01 Jan 2026 10:00:00 +0000",
            "subject": "Re: Quote",
            "message_id": f"<{number}@example.com>",
            "in_reply_to": None,
            "is_autoreply": False,
        },
        "message_ids": [f"<{number}@example.com>"],
        "references": [],
        "thread_id": place.thread_id,
        "date_sent": place.at.isoformat(),
        "opens": [],
        "has_reply": False,
        "send_attempts": [],
    }


def meeting_body(source: random.Random, place: Place, number: int) -> dict[str, Any]:
    guest = {"email": f"contact{number % 7}@example.com", "name": "Grace Hopper", "status": "yes"}
    return {
        "title": "Quarterly review",
        "location": "",
        "note": text(source, 900),
        "starts_at": place.at.isoformat(),
        "ends_at": (place.at + timedelta(minutes=30)).isoformat(),
        "duration": 1800,
        "status": "completed",
        "source": "calendar",
        "is_recurring": False,
        "attendees": [{**guest, "is_organizer": False}],
        "calendar_event_link": None,
        "calendar_event_uids": [f"{number}@example.com"],
        "provider_calendar_type": "google",
        "conference_links": [{"type": "ZOOM", "url": "https://zoom.example.com/j/1"}],
        "attached_call_ids": [],
        "integrations": [],
        "user_note_mentions": [],
    }


BODIES = {"Call": call_body, "Email": email_body, "Meeting": meeting_body}


def event(source: random.Random, place: Place, number: int, *, edition: int = 0) -> bytes:
    """The record value that sets the activity; a higher `edition` is a higher revision."""
    at = (place.at + timedelta(seconds=edition)).replace(tzinfo=None).isoformat()
    return orjson.dumps(
        {
            "id": f"{to_id('ev', number)}_{edition}",
            "object_type": OBJECT_TYPES[place.type],
            "object_id": to_id("acti", number),
            "action": "updated" if edition else "created",
            "date_created": at,
            "date_updated": at,
            "organization_id": place.organization_id,
            "lead_id": place.lead_id,
            "user_id": None,
            "changed_fields": [],
            "previous_data": {},
            "meta": {"request_method": "POST", "request_path": "/api/v1/activity/"},
            "data": activity(source, place, number),
        }
    )


def power(source: random.Random, count: int) -> int:
    """A number below `count`, small ones far more often (a power law)."""
    return min(count - 1, int(source.paretovariate(0.8)) - 1)


def places(seed: int, count: int, *, email_share: float = 0.0) -> Iterator[Place]:
    """`count` places: organizations and leads by a power law, types by the mix.

    Emails come in conversations of 8 in the mean.
    """
    source = random.Random(seed)
    types, weights = list(MIX), list(MIX.values())
    for number in range(count):
        organization = to_id("orga", power(source, 50))
        lead = to_id("lead", power(source, 20_000))
        at = START + timedelta(seconds=number, milliseconds=source.randrange(1000))
        if source.random() < email_share:
            yield Place(organization, lead, "Email", at, to_id("thread", number // 8))
        else:
            yield Place(organization, lead, source.choices(types, weights)[0], at)


def new_events(seed: int, count: int, *, edition: int = 0) -> list[bytes]:
    source = random.Random(seed)
    return [
        event(source, place, number, edition=edition)
        for number, place in enumerate(places(seed, count))
    ]


def email_events(seed: int, count: int, *, window: int) -> list[bytes]:
    """Emails in conversations of 8, as a mailbox has them by time: those of one conversation lie
    within `window` emails of each other."""
    source = random.Random(seed)
    arrivals = sorted(
        (thread * CONVERSATION + source.random() * window, thread)
        for thread in range(count // CONVERSATION)
        for _ in range(CONVERSATION)
    )
    return [
        event(source, _email_place(number, thread), number)
        for number, (_, thread) in enumerate(arrivals)
    ]


def _email_place(number: int, thread: int) -> Place:
    at = START + timedelta(seconds=number)
    lead_id, thread_id = to_id("lead", thread), to_id("thread", thread)
    return Place(to_id("orga", thread % 5), lead_id, "Email", at, thread_id)


def to_document(value: bytes) -> dict[str, Any]:
    """The document that the store keeps for this event: what a limit loop writes."""
    change = parse_event(value)
    assert isinstance(change, Change)
    assert change.activity is not None
    meta = {"revision": change.revision}
    if change.thread_id is not None:
        meta["thread"] = change.thread_id
    return {"_id": f"{change.organization_id}!{change.id}", **change.activity, "_meta": meta}


# --- a store to read from -----------------------------------------------------------------------
READER = "orga_reader"
BIG_LEAD = "lead_big"
# So that in the smallest store, too, it has more than a page of whatever is asked of it, threads too:
# sizes are compared by reads of as many rows.
BIG_LEAD_SHARE = 0.25
MAX_BIG_LEAD = 100_000
RARE_TYPE = "LeadMerge"
CONVERSATION = 8
# Between one activity of the store and the next.
EVERY = timedelta(seconds=6)


def ordinary_lead(number: int) -> str:
    return to_id("lead", number)


def documents(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """A store of `count` activities of one organization, and the threads of its emails.

    One lead holds a quarter of them, 100,000 at most; the others 20 to 50 each.
    """
    source = random.Random(seed)
    types = [*MIX, "Email"]
    weights = [*MIX.values(), 60]
    prototypes = {name: _prototypes(source, name) for name in (*types, RARE_TYPE)}
    big = min(MAX_BIG_LEAD, int(count * BIG_LEAD_SHARE))
    every = count // big
    lead, left, conversations = 0, source.randint(20, 50), dict[str, list[dict[str, Any]]]()
    for number in range(count):
        at = START + number * EVERY + timedelta(milliseconds=source.randrange(1000))
        name = source.choices(types, weights)[0]
        if number % every == 0:
            lead_id = BIG_LEAD
            name = RARE_TYPE if number // every % (big // 50) == 0 else name
        else:
            lead_id, left = ordinary_lead(lead), left - 1
        document = _placed(source.choice(prototypes[name]), lead_id, number, at)
        if name == "Email":
            conversation = conversations.setdefault(lead_id, [])
            _join(document, conversation)
            if len(conversation) == CONVERSATION:
                yield _thread_document(conversations.pop(lead_id))
        yield document
        if left == 0:
            if conversation := conversations.pop(ordinary_lead(lead), []):
                yield _thread_document(conversation)
            lead, left = lead + 1, source.randint(20, 50)
    yield from map(_thread_document, conversations.values())


def _join(email: dict[str, Any], conversation: list[dict[str, Any]]) -> None:
    conversation.append(email)
    thread_id = conversation[0]["id"]
    email |= {"thread_id": thread_id, "_meta": email["_meta"] | {"thread": thread_id}}


def _prototypes(source: random.Random, name: str) -> list[dict[str, Any]]:
    place = Place(READER, BIG_LEAD, name, START, "acti_thread" if name == "Email" else None)
    return [to_document(event(source, place, number)) for number in range(50)]


def _placed(prototype: dict[str, Any], lead_id: str, number: int, at: datetime) -> dict[str, Any]:
    activity_id, stored_at = to_id("acti", number), at.replace(tzinfo=None)
    return prototype | {
        "_id": f"{READER}!{activity_id}",
        "id": activity_id,
        "lead_id": lead_id,
        "date_created": stored_at,
        "date_updated": stored_at,
        "activity_at": stored_at,
    }


def _thread_document(members: list[dict[str, Any]]) -> dict[str, Any]:
    thread_id = members[0]["thread_id"]
    thread = to_thread(members)
    assert thread is not None
    return {
        "_id": f"{READER}!{thread_id}!thread",
        "_type": "EmailThread",
        "organization_id": READER,
        **thread,
        "id": f"{thread_id}!thread",
        "_meta": {"version": 1, "user_ids": thread["users"], "contact_ids": []},
    }
