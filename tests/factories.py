"""Activities, events and requests for tests.

Three kinds, all as producers and apps would send them:

* builders: `activity("Call", ...)`, `event(data, ...)`, `record(event)`: one thing, explicit;
* a seeded mass of realistic events for end-to-end tests and benchmarks: `realistic_events(seed, n)`;
* hypothesis strategies over a small world (few leads, users and times, so that things collide):
  `event_logs()`, `mailboxes()`, `bad_records()`, `arrivals(log)`, `requests()`.

A log is a list of record values (bytes; None for a null value) in no particular order: every one of
them carries its own revision, equal revisions are equal bytes.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

OBJECT_TYPES = {
    "Call": "activity.call",
    "Email": "activity.email",
    "EmailThread": "activity.email_thread",
    "Note": "activity.note",
    "SMS": "activity.sms",
    "WhatsAppMessage": "activity.whatsapp_message",
    "Meeting": "activity.meeting",
    "CustomActivity": "activity.custom_activity",
    "Created": "activity.created",
    "LeadStatusChange": "activity.lead_status_change",
    "OpportunityStatusChange": "activity.opportunity_status_change",
    "LeadMerge": "activity.lead_merge",
    "TaskCompleted": "activity.task_completed",
    "FormSubmission": "activity.form_submission",
    "ImportUpdate": "activity.import_update",
}
TYPE_NAMES = tuple(OBJECT_TYPES)
OWN_PATHS = {
    "Call": "call",
    "Email": "email",
    "EmailThread": "emailthread",
    "Note": "note",
    "SMS": "sms",
    "WhatsAppMessage": "whatsapp_message",
    "Meeting": "meeting",
    "CustomActivity": "custom",
    "Created": "created",
    "LeadStatusChange": "status_change/lead",
    "OpportunityStatusChange": "status_change/opportunity",
    "LeadMerge": "lead_merge",
    "TaskCompleted": "task_completed",
    "FormSubmission": "form_submission",
    "ImportUpdate": "import_update",
}

# ---------------------------------------------------------------- realistic activities

_WORDS = re.findall(
    r"\w+",
    """
quote price order delivery invoice meeting call tomorrow thanks regards team offer plan budget
contract renewal question answer demo trial feedback support issue account manager schedule
please confirm attached document update week month quarter größe straße café 見積 Привет
""",
)
_FIRST_NAMES = ("Ada", "Grace", "Linus", "Mary", "José", "Chloé", "Tim", "Yuki", "Ola", "Björn")
_LAST_NAMES = ("Byron", "Hopper", "Torres", "Smith", "Núñez", "Müller", "Okafor", "Tanaka")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def make_id(prefix: str, rng: random.Random, length: int = 43) -> str:
    """An id as the reference system makes them: `acti_` and 43 characters."""
    return f"{prefix}_{''.join(rng.choices(_BASE62, k=length))}"


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(_WORDS, k=count))


def _name(rng: random.Random) -> str:
    return f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}"


def _phone(rng: random.Random) -> str:
    return f"+1650{rng.randrange(10**7):07d}"


def _html(text: str) -> str:
    return f"<body><p>{text}</p></body>"


def _later(at: str, **delta: float) -> str:
    return (datetime.fromisoformat(at) + timedelta(**delta)).isoformat()


_SEQUENCE = {"sequence_id": None, "sequence_name": None, "sequence_subscription_id": None}


def _call(rng: random.Random, at: str) -> dict[str, Any]:
    phone, local = _phone(rng), _phone(rng)
    duration, note = rng.randrange(1800), _words(rng, 25)
    return {
        "status": "completed",
        "source": "Close.io",
        "direction": rng.choice(["inbound", "outbound"]),
        "disposition": rng.choice(["answered", "no-answer", "vm-left", "busy"]),
        "call_method": "regular",
        "duration": duration,
        "cost": str(rng.randrange(9)),
        "phone": phone,
        "local_phone": local,
        "remote_phone": phone,
        "local_phone_formatted": local,
        "remote_phone_formatted": phone,
        "local_country_iso": "US",
        "remote_country_iso": "US",
        "note": note,
        "note_html": _html(note),
        "recording_url": f"https://calls.example.test/{make_id('media', rng, 22)}/",
        "recording_duration": duration,
        "recording_expires_at": _later(at, days=365),
        "date_answered": _later(at, seconds=9),
        "voicemail_url": None,
        "voicemail_duration": 0,
        "has_recording": True,
        "is_forwarded": False,
        "is_joinable": False,
        "is_to_group_number": False,
        "forwarded_to": None,
        "transferred_from": None,
        "transferred_to": None,
        "outcome_id": None,
        "dialer_id": None,
        "parent_meeting_id": None,
        "coach_legs": [],
        "recording_transcript": {
            "utterances": [
                {
                    "speaker_label": _name(rng),
                    "speaker_side": rng.choice(["contact", "close-user"]),
                    "start": float(second),
                    "end": second + 4.5,
                    "text": _words(rng, 9),
                }
                for second in range(0, 10, 5)
            ],
            "summary_text": _words(rng, 12),
            "summary_html": None,
        },
        "voicemail_transcript": None,
        **_SEQUENCE,
    }


def _email(rng: random.Random, at: str) -> dict[str, Any]:
    them, us = _name(rng), _name(rng)
    theirs = f"{them.split()[0].lower()}@customer.example"
    ours = f"{us.split()[0].lower()}@seller.example"
    is_incoming = rng.random() < 0.5
    sender, name, receiver = (theirs, them, ours) if is_incoming else (ours, us, theirs)
    subject = rng.choice(["", "Re: ", "RE: Re: ", "Fwd: ", "AW: "]) + _words(rng, 1).capitalize()
    text = _words(rng, 22)
    message_id = f"<{rng.randrange(10**12)}@mail.example>"
    return {
        "status": "inbox" if is_incoming else "sent",
        "direction": "incoming" if is_incoming else "outgoing",
        "subject": subject,
        "sender": f'"{name}" <{sender}>',
        "to": [receiver],
        "cc": [],
        "bcc": [],
        "body_text": text,
        "body_html": _html(text),
        "body_preview": text[:200],
        "body_text_quoted": [{"text": text, "expand": True}],
        "body_html_quoted": [{"html": _html(text), "expand": True}],
        "attachments": [],
        "envelope": {
            "from": [{"email": sender, "name": name}],
            "sender": [],
            "to": [{"email": receiver, "name": ""}],
            "cc": [],
            "bcc": [],
            "reply_to": [],
            "date": "Fri, 02 Jan 2026 10:00:00 +0000",
            "subject": subject,
            "message_id": message_id,
            "in_reply_to": None,
            "is_autoreply": False,
        },
        "message_ids": [message_id],
        "references": [],
        "in_reply_to_id": None,
        "date_sent": at,
        "date_scheduled": None,
        "email_account_id": make_id("emailacct", rng),
        "send_as_id": None,
        "template_id": None,
        "template_name": None,
        "bulk_email_action_id": None,
        "opens": [],
        "opens_summary": None,
        "has_reply": False,
        "send_attempts": [],
        "need_smtp_credentials": False,
        "followup_sequence_id": None,
        "followup_sequence_delay": None,
        "followup_sequence_add_cc_bcc": False,
        **_SEQUENCE,
    }


def _email_thread(rng: random.Random, at: str) -> dict[str, Any]:
    return {
        "latest_normalized_subject": _words(rng, 2),
        "n_emails": 1,
        "participants": [],
        "summary": {
            "status": "success",
            "summary_text": _words(rng, 20),
            "summary_html": None,
            "generated_at": at,
            "updated_at": at,
        },
        "importance": {"type": "important", "reason": "has-response"},
        "comment_summary": None,
    }


def _note(rng: random.Random, at: str) -> dict[str, Any]:
    note = _words(rng, 90)
    return {
        "note": note,
        "note_html": _html(note),
        "note_mentions": [],
        "title": _words(rng, 4),
        "pinned": True,
        "pinned_at": _later(at, hours=1),
        "attachments": [],
        "source": "ui",
        "comment_summary": None,
    }


def _sms(rng: random.Random, at: str) -> dict[str, Any]:
    phone, local = _phone(rng), _phone(rng)
    return {
        "status": "sent",
        "direction": "outbound",
        "text": _words(rng, 100),
        "cost": "1",
        "date_sent": at,
        "date_scheduled": None,
        "error_message": None,
        "local_phone": local,
        "local_phone_formatted": local,
        "local_country_iso": "US",
        "remote_phone": phone,
        "remote_phone_formatted": phone,
        "remote_country_iso": "US",
        "source": "Close.io",
        "template_id": None,
        **_SEQUENCE,
    }


def _whatsapp_message(rng: random.Random, _at: str) -> dict[str, Any]:
    text, phone, local = _words(rng, 60), _phone(rng), _phone(rng)
    return {
        "external_whatsapp_message_id": f"wamid.{''.join(rng.choices(_BASE62, k=38))}==",
        "direction": rng.choice(["incoming", "outgoing"]),
        "message_markdown": text,
        "message_html": _html(text),
        "text": text,
        "local_phone": local,
        "local_phone_formatted": local,
        "remote_phone": phone,
        "remote_phone_formatted": phone,
        "source": "api",
        "integration_link": "https://chat.example.test/",
        "integration_name": "Chat",
        "response_to_id": None,
        "attachments": [],
        **_SEQUENCE,
    }


def _meeting(rng: random.Random, at: str) -> dict[str, Any]:
    name = _name(rng)
    return {
        "title": _words(rng, 4),
        "location": _words(rng, 3),
        "note": _words(rng, 30),
        "starts_at": _later(at, days=1),
        "ends_at": _later(at, days=1, minutes=30),
        "duration": 1800,
        "actual_duration": None,
        "status": "upcoming",
        "source": "calendar",
        "is_recurring": False,
        "attendees": [
            {
                "name": name,
                "email": f"{name.split()[0].lower()}@customer.example",
                "status": "yes",
                "is_organizer": False,
                "user_id": None,
                "contact_id": None,
            }
        ],
        "calendar_event_link": None,
        "calendar_event_uids": [make_id("cal", rng, 22)],
        "provider_calendar_ids": [],
        "provider_calendar_type": "google",
        "conference_links": [{"type": "ZOOM", "url": "https://zoom.example.test/j/1"}],
        "connected_account_id": None,
        "attached_call_ids": [],
        "integrations": [],
        "user_note": _words(rng, 20),
        "user_note_html": None,
        "user_note_date_updated": _later(at, days=2),
        "user_note_mentions": [],
        "outcome_id": None,
        "summary": {"text": _words(rng, 20), "html": ""},
        "transcripts": [
            {
                "id": "1",
                "has_speaker_labels": True,
                "speakers": [],
                "utterances": [
                    {
                        "speaker_label": name,
                        "speaker_side": "contact",
                        "start": 0.5,
                        "end": 2.25,
                        "text": _words(rng, 12),
                    }
                ],
                "summary_text": None,
                "summary_html": None,
            }
        ],
    }


def _custom_activity(rng: random.Random, at: str) -> dict[str, Any]:
    return {
        "custom_activity_type_id": f"actitype_{rng.randrange(1, 4)}",
        "status": "published",
        "last_published_at": at,
        "pinned": False,
        "pinned_at": None,
        "mentions": [],
        "mentions_updated_at": None,
        "source": "ui",
        **{f"custom.{make_id('cf', rng)}": _words(rng, 25) for _ in range(3)},
        "custom.cf_amount": rng.randrange(10**9),
        "custom.cf_owners": ["user_1", "user_2"],
    }


def _created(rng: random.Random, _at: str) -> dict[str, Any]:
    return {"source": rng.choice(["ui", "api", "import"]), "import_id": None}


def _status_change(rng: random.Random) -> dict[str, Any]:
    return {
        "old_status_id": make_id("stat", rng),
        "new_status_id": make_id("stat", rng),
        "old_status_label": "Potential",
        "new_status_label": "Qualified",
    }


def _lead_status_change(rng: random.Random, _at: str) -> dict[str, Any]:
    return _status_change(rng)


def _opportunity_status_change(rng: random.Random, _at: str) -> dict[str, Any]:
    return {
        **_status_change(rng),
        "opportunity_id": f"oppo_{rng.randrange(1, 4)}",
        "old_status_type": "active",
        "new_status_type": "won",
        "old_pipeline_id": make_id("pipe", rng, 22),
        "new_pipeline_id": make_id("pipe", rng, 22),
        "old_pipeline_name": "Sales",
        "new_pipeline_name": "Sales",
        "opportunity_value": rng.randrange(10**6) * 100,
        "opportunity_value_currency": "USD",
        "opportunity_value_formatted": "$1,000",
        "opportunity_value_period": "monthly",
        "opportunity_confidence": rng.randrange(101),
        "opportunity_date_won": "2026-02-01",
    }


def _lead_merge(rng: random.Random, _at: str) -> dict[str, Any]:
    return {
        "source_lead_id": make_id("lead", rng),
        "source_display_name": _name(rng),
        "destination_lead_id": make_id("lead", rng),
        "destination_display_name": _name(rng),
        "merge_status": "completed",
        "error_message": None,
    }


def _task_completed(rng: random.Random, _at: str) -> dict[str, Any]:
    return {
        "task_id": make_id("task", rng),
        "task_text": _words(rng, 12),
        "task_assigned_to": make_id("user", rng),
        "task_assigned_to_name": _name(rng),
        **_SEQUENCE,
    }


def _form_submission(rng: random.Random, _at: str) -> dict[str, Any]:
    return {
        "form_id": f"form_{rng.randrange(1, 4)}",
        "form_configuration_id": make_id("formconf", rng, 22),
        "form_name": "Contact us",
        "values": {make_id("formfld", rng, 22): _words(rng, 6), make_id("formfld", rng, 22): True},
        "values_by_name": {"Price in $. (net)": _words(rng, 2), "$where": None, "": "no label"},
        "ip_address": "192.0.2.7",
        "origin": "https://www.example.test",
        "source_url": "https://www.example.test/contact?utm=1",
        "source_url_normalized": "https://www.example.test/contact",
    }


def _import_update(rng: random.Random, _at: str) -> dict[str, Any]:
    return {"import_id": make_id("import", rng, 22), "reverted": False}


_MAKERS: dict[str, Callable[[random.Random, str], dict[str, Any]]] = {
    "Call": _call,
    "Email": _email,
    "EmailThread": _email_thread,
    "Note": _note,
    "SMS": _sms,
    "WhatsAppMessage": _whatsapp_message,
    "Meeting": _meeting,
    "CustomActivity": _custom_activity,
    "Created": _created,
    "LeadStatusChange": _lead_status_change,
    "OpportunityStatusChange": _opportunity_status_change,
    "LeadMerge": _lead_merge,
    "TaskCompleted": _task_completed,
    "FormSubmission": _form_submission,
    "ImportUpdate": _import_update,
}
NOON = "2026-01-02T12:00:00+00:00"


def activity(
    type_name: str = "Note", *, rng: random.Random | None = None, **fields: Any
) -> dict[str, Any]:
    """A full activity as the HTTP API would return it: every field of its type, then `fields`.

    Without `rng` the same one every time; about 2 KB for the types that hold text.
    """
    rng = rng or random.Random(0)
    at = fields.get("date_created", NOON)
    user = make_id("user", rng)
    row: dict[str, Any] = {
        "_type": type_name,
        "id": make_id("acti", rng),
        "organization_id": "orga_1",
        "lead_id": "lead_1",
        "contact_id": make_id("cont", rng),
        "user_id": user,
        "user_name": _name(rng),
        "users": [],
        "created_by": user,
        "created_by_name": _name(rng),
        "updated_by": user,
        "updated_by_name": _name(rng),
        "date_created": at,
        "date_updated": at,
        "activity_at": at,
        **_MAKERS[type_name](rng, at),
    }
    if type_name == "TaskCompleted":
        del row["contact_id"]
    return row | fields


# ---------------------------------------------------------------- events


def event(data: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    """The event that says `data` (default: a Note) is how the activity stands now."""
    data = activity() if data is None else data
    row = {
        "id": "ev_1",
        "object_type": OBJECT_TYPES.get(data.get("_type", "Note"), "activity.note"),
        "object_id": data.get("id", "acti_1"),
        "action": "created",
        "date_created": "2026-01-02T12:00:00.434000",
        "date_updated": "2026-01-02T12:00:00.434000",
        "organization_id": data.get("organization_id", "orga_1"),
        "lead_id": data.get("lead_id"),
        "user_id": data.get("user_id"),
        "request_id": "req_1",
        "changed_fields": [],
        "previous_data": {},
        "meta": {"request_method": "POST", "request_path": "/api/v1/activity/"},
        "data": dict(data),
    }
    return row | fields


def deletion(data: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    """The event that deletes what `event(data)` created."""
    return event(data, **{"id": "ev_2", "action": "deleted", "data": None} | fields)


def record(event_: object) -> bytes:
    """The value of a Kafka record."""
    return json.dumps(event_, ensure_ascii=False, separators=(",", ":")).encode()


# ---------------------------------------------------------------- a realistic mass of events

MIX = {
    "Email": 38,
    "Call": 18,
    "Note": 10,
    "SMS": 8,
    "TaskCompleted": 6,
    "LeadStatusChange": 5,
    "OpportunityStatusChange": 4,
    "Meeting": 3,
    "CustomActivity": 3,
    "Created": 2,
    "FormSubmission": 1,
    "WhatsAppMessage": 1,
    "LeadMerge": 0.3,
    "ImportUpdate": 0.4,
    "EmailThread": 0.3,
}


def realistic_events(
    seed: int,
    count: int,
    *,
    organization_id: str = "orga_1",
    leads: int = 50,
    users: int = 8,
    start: str = "2026-01-02T08:00:00+00:00",
    step_seconds: float = 61.0,
    share_of_updates: float = 0.15,
    share_of_deletes: float = 0.03,
) -> Iterator[dict[str, Any]]:
    """`count` valid events in the order in which they happened, the same for the same seed.

    Types as in a sales team's day (`MIX`), about 2 KB an activity; the first lead has by far the
    most (power law, 1/rank). Lead ids are `lead_1`..., user ids `user_1`...; activity and event ids
    are unique across seeds. Times are `step_seconds` apart.
    """
    rng = random.Random(seed)
    lead_ids = [f"lead_{rank}" for rank in range(1, leads + 1)]
    lead_weights = [1 / rank for rank in range(1, leads + 1)]
    at = datetime.fromisoformat(start)
    living: list[dict[str, Any]] = []
    for number in range(count):
        at += timedelta(seconds=step_seconds)
        now = at.astimezone(UTC).isoformat()
        stamp = now.removesuffix("+00:00")
        fate = rng.random()
        if living and fate < share_of_deletes:
            data = living.pop(rng.randrange(len(living)))
            action = "deleted"
        elif living and fate < share_of_deletes + share_of_updates:
            index = rng.randrange(len(living))
            data = living[index] = living[index] | {
                "date_updated": now,
                "updated_by": f"user_{rng.randint(1, users)}",
            }
            action = "updated"
        else:
            user = f"user_{rng.randint(1, users)}"
            type_name = rng.choices(list(MIX), list(MIX.values()))[0]
            data = activity(
                type_name,
                rng=rng,
                organization_id=organization_id,
                lead_id=rng.choices(lead_ids, lead_weights)[0],
                user_id=user,
                created_by=user,
                updated_by=None,
                updated_by_name=None,
                date_created=now,
            )
            living.append(data)
            action = "created"
        yield event(
            data,
            id=f"ev_{seed}_{number:09d}",
            action=action,
            date_created=stamp,
            date_updated=stamp,
            data=None if action == "deleted" else data,
        )


# ---------------------------------------------------------------- a small world for hypothesis

ORGANIZATIONS = ("orga_1", "orga_2")
LEADS = ("lead_1", "lead_2", "lead_3")
USERS = ("user_1", "user_2", "user_3")
CONTACTS = ("cont_1", "cont_2")
ACTIVITIES = tuple(f"acti_{number}" for number in range(1, 17))
CUSTOM_TYPES = ("actitype_1", "actitype_2")
OPPORTUNITIES = ("oppo_1", "oppo_2")
FORMS = ("form_1", "form_2")
WHATSAPP_IDS = ("wamid.HBgL==", "wamid.2")
GIVEN_THREADS = ("acti_1", "acti_2", "thread_1", "thread_2")
INSTANTS = (
    "2026-01-02T10:00:00.000000+00:00",
    "2026-01-02T10:00:00Z",
    "2026-01-02T10:00:00.001",
    "2026-01-02T11:00:00.001999999+01:00",
    "2026-01-02T10:00:00.002000Z",
    "2026-01-02",
    "2026-01-02T23:59:59.999999Z",
    "2026-01-03T00:00:00",
    "2026-01-02T18:30:00-05:30",
    "1969-12-31T23:59:59.999900Z",
    "0001-01-01",
    "9999-12-31T23:59:59.999999999Z",
)
_usual_instants = st.sampled_from(INSTANTS[:7])
instants = st.one_of(_usual_instants, _usual_instants, st.sampled_from(INSTANTS))
revision_times = st.sampled_from(
    [
        "2026-01-05T10:00:00",
        "2026-01-05T10:00:00.000001",
        "2026-01-05T10:00:00.0000019",
        "2026-01-05T10:00:01Z",
        "2026-01-05T12:00:02+02:00",
    ]
)
_SUBJECTS = (
    "Quote",
    "Re: Quote",
    "RE:  quote",
    "AW: WG: Quote",
    "fwd:Re:\u00a0QUOTE ",
    "Undeliverable: Quote",
    "Re[2]: Quote",
    "Re : Quote",
    "Straße",
    "re: STRASSE",
    "Re:",
    "",
    None,
    "Other \t\u2003 thing",
    "Other thing",
)
_MESSAGE_IDS = ("<m1@x>", "<m2@x>", "<m3@x>")
_SENDERS = ('"Ada B" <ada@x.example>', "Ada <ADA@x.example>", "bob@y.example", "", None)
_IDENTITIES = (
    {"email": "ada@x.example", "name": "Ada B"},
    {"email": "ADA@x.example", "name": ""},
    {"email": "ada@x.example", "name": None},
    {"email": "bob@y.example", "name": "Bob"},
    {"email": "cy@z.example"},
    {"email": None, "name": "Nobody"},
    "bob@y.example",
    None,
)

Fields = dict[str, st.SearchStrategy[Any]]
ABSENT = object()


def _mostly(*usual: Any, rarely: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Each usual value is drawn about six times as often as all the rare ones together."""
    return st.sampled_from([*(list(usual) * (6 // len(usual) + 1)), *rarely])


def _optional(required: Fields, optional: Fields) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
json_values = st.recursive(
    _json_scalars,
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "b.c", "$d", "", "Price in $. (net)", "_id", "id"]),
            children,
            max_size=3,
        ),
    ),
    max_leaves=6,
)
_base: Fields = {
    "user_name": st.sampled_from(["Ada", "Bob", None]),
    "users": st.sampled_from([[], ["user_1"], ["user_2", "user_3"], None]),
    "created_by": st.sampled_from([*USERS, None, ""]),
    "created_by_name": st.sampled_from(["Ada", "Bob", None]),
    "updated_by": st.sampled_from([*USERS, None]),
    "updated_by_name": st.sampled_from(["Ada", "Bob", None, 7]),
    "date_updated": st.one_of(st.none(), instants),
    "activity_at": st.one_of(st.none(), instants),
    "custom.cf_1": _json_scalars,
    "added_upstream": json_values,
}
_people: Fields = {
    "lead_id": _mostly("lead_1", *LEADS, rarely=[None, "", ABSENT]),
    "contact_id": _mostly(*CONTACTS, rarely=[None, "", ABSENT]),
    "user_id": _mostly(*USERS, rarely=[None, "", ABSENT]),
}
_email_fields: Fields = {
    "subject": st.sampled_from(_SUBJECTS),
    "sender": st.sampled_from(_SENDERS),
    "to": st.sampled_from([None, [], ["bob@y.example"]]),
    "cc": st.sampled_from([None, ["cy@z.example"]]),
    "status": st.sampled_from(["inbox", "draft", "sent", None]),
    "direction": st.sampled_from(["incoming", "outgoing", None]),
    "thread_id": _mostly(None, "", rarely=GIVEN_THREADS),
    "body_text": st.sampled_from([None, "", "Hello", "ä" * 250]),
    "body_html": st.sampled_from([None, "<p>Hello</p>"]),
    "body_preview": st.sampled_from([None, "", "Hel"]),
    "body_text_quoted": st.just([{"text": "Hello", "expand": False}]),
    "attachments": st.sampled_from([None, [], [{"url": "https://x.example/1"}]]),
    "references": st.sampled_from([None, [], [""], ["", "<m1@x>"], ["<m2@x>", "<m1@x>"]]),
    "message_ids": st.sampled_from([None, [], ["<m1@x>"], ["<m3@x>"]]),
    "date_sent": st.one_of(st.none(), instants),
    "opens_summary": st.sampled_from([None, "2 opens"]),
    "send_as_id": st.sampled_from([None, "sa_1"]),
    "envelope": st.one_of(
        st.none(),
        _optional(
            {},
            {
                "from": st.one_of(st.none(), st.lists(st.sampled_from(_IDENTITIES), max_size=3)),
                "in_reply_to": st.sampled_from([None, "", "<m2@x>", 5]),
                "message_id": st.sampled_from([None, *_MESSAGE_IDS]),
                "date": st.just("Fri, 02 Jan 2026 10:00:00 +0000"),
            },
        ),
    ),
}
_overlay_fields: Fields = {
    "summary": st.sampled_from([None, {"status": "pending", "updated_at": "2026-01-02"}]),
    "importance": st.just({"type": "important", "reason": "manual"}),
    "comment_summary": st.sampled_from([None, {"comment_count": 1, "thread_id": "c_1"}]),
    "n_emails": st.just(99),
}
_own_fields: dict[str, Fields] = {
    "Call": {
        "recording_transcript": json_values,
        "voicemail_transcript": st.none(),
        "date_answered": st.one_of(st.none(), instants),
        "duration": _mostly(5, rarely=["five", None, 2.5]),
    },
    "Email": _email_fields,
    "EmailThread": _overlay_fields,
    "Note": {"note": st.just("A note"), "pinned_at": instants, "thread_id": st.just(4)},
    "Meeting": {"transcripts": json_values, "starts_at": instants, "ends_at": st.none()},
    "CustomActivity": {
        "custom_activity_type_id": _mostly(*CUSTOM_TYPES, rarely=[None, 5, [*CUSTOM_TYPES]])
    },
    "OpportunityStatusChange": {
        "opportunity_id": _mostly(*OPPORTUNITIES, rarely=[None, [*OPPORTUNITIES]]),
        "opportunity_date_won": instants,
    },
    "FormSubmission": {
        "form_id": _mostly(*FORMS, rarely=[None, [*FORMS]]),
        "values_by_name": json_values,
    },
    "WhatsAppMessage": {
        "external_whatsapp_message_id": _mostly(*WHATSAPP_IDS, rarely=[None, [*WHATSAPP_IDS]])
    },
    "SMS": {"date_scheduled": instants},
}
_type_names = st.one_of(st.sampled_from(TYPE_NAMES), st.sampled_from(["Email", "EmailThread"]))


@st.composite
def small_events(
    draw: st.DrawFn,
    type_names: st.SearchStrategy[str] = _type_names,
    activity_ids: Sequence[str] = ACTIVITIES,
    organizations: Sequence[str] = ORGANIZATIONS,
) -> dict[str, Any]:
    """A valid event of the small world, without its `id`: whoever collects them numbers them."""
    type_name = draw(type_names)
    organization = draw(_mostly(organizations[0], rarely=organizations[1:]))
    object_id = draw(st.sampled_from(activity_ids))
    row: dict[str, Any] = {
        "object_type": OBJECT_TYPES[type_name],
        "object_id": object_id,
        "organization_id": organization,
        "action": draw(_mostly("created", "updated", "sent", rarely=["deleted"])),
        "date_created": draw(revision_times),
        **draw(_optional({}, {"date_updated": st.one_of(st.none(), revision_times)})),
        **draw(_optional({}, {"lead_id": st.sampled_from([*LEADS, None])})),
    }
    if row["action"] == "deleted":
        return row | draw(st.sampled_from([{}, {"data": None}, {"data": {"id": 7}}]))
    required = {"date_created": instants} | _people
    drawn = draw(_optional(required, _base | _own_fields.get(type_name, {})))
    data = {key: value for key, value in drawn.items() if value is not ABSENT}
    if type_name == "TaskCompleted" and draw(st.booleans()):
        data.pop("contact_id", None)
    if draw(st.booleans()):
        data |= {"_type": type_name, "id": object_id, "organization_id": organization}
    return row | {"data": data}


def numbered(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each event with an `id` of its own, in an order that is not the list's."""
    return [row | {"id": f"ev_{index * 7919 % 10007:05d}"} for index, row in enumerate(events)]


_ignored_records: st.SearchStrategy[bytes | None] = st.sampled_from(
    [
        None,
        record({"object_type": "lead", "id": 5}),
        record({"object_type": "contact.phone"}),
        record({"subscription_id": "whsub_1", "event": {"object_type": "task.lead"}}),
    ]
)


@st.composite
def event_logs(
    draw: st.DrawFn,
    min_size: int = 0,
    max_size: int = 30,
    *,
    type_names: st.SearchStrategy[str] = _type_names,
    activity_ids: Sequence[str] = ACTIVITIES,
    organizations: Sequence[str] = ORGANIZATIONS,
    with_bad: bool = True,
) -> list[bytes | None]:
    """Record values: creates, updates, deletes, revivals, moves between leads, changes of type,
    equal timestamps, ids that collide between organizations, webhook bodies, and where `with_bad`
    records that are ignored or rejected."""
    one = small_events(type_names, activity_ids, organizations)
    events = numbered(draw(st.lists(one, min_size=min_size, max_size=max_size)))
    log: list[bytes | None] = [_perhaps_wrapped(row) for row in events]
    if with_bad:
        bad = bad_records().map(lambda pair: pair[1])
        log += draw(st.lists(st.one_of(bad, _ignored_records), max_size=4))
    return draw(arrivals(log))


WRAPPINGS: tuple[Callable[[dict[str, Any]], bytes], ...] = (
    lambda row: b"\0\0\0\0\7" + record(row),
    lambda row: record({"schema": None, "payload": row}),
    lambda row: record({"specversion": "1.0", "id": "1", "source": "/a", "data": row}),
    lambda row: record({"subscription_id": "whsub_1", "event": row}),
)
"""An event as a record in each of the wrappings of contract 1.2."""


def _perhaps_wrapped(row: dict[str, Any]) -> bytes:
    """Every third event in a wrapping; the same event always in the same one."""
    number = int(row["id"].removeprefix("ev_"))
    return record(row) if number % 3 else WRAPPINGS[number // 3 % len(WRAPPINGS)](row)


def mailboxes(min_size: int = 1, max_size: int = 25) -> st.SearchStrategy[list[bytes | None]]:
    """Logs of emails and overlays alone: replies, forwards, other languages' marks, drafts sent
    later, edited subjects, moves between leads and threads, deletes, revivals, given and derived
    thread ids, empty subjects with references, and now and then another type."""
    return event_logs(
        min_size,
        max_size,
        type_names=_mostly("Email", rarely=["EmailThread", "EmailThread", "Note"]),
        activity_ids=ACTIVITIES[:8] + GIVEN_THREADS[2:],
        organizations=ORGANIZATIONS,
        with_bad=False,
    )


@st.composite
def arrivals(
    draw: st.DrawFn, log: Sequence[bytes | None], max_repeated: int = 5
) -> list[bytes | None]:
    """The same records in any order, some of them more than once."""
    repeated = draw(st.lists(st.sampled_from(log), max_size=max_repeated)) if log else []
    return list(draw(st.permutations([*log, *repeated])))


# ---------------------------------------------------------------- records that are rejected


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _with_data(**fields: Any) -> bytes:
    data = {"date_created": NOON} | fields
    kind = data.pop("kind", "activity.note")
    return record(event({}, object_type=kind, data=data))


def _without(key: str) -> bytes:
    return record({name: value for name, value in event().items() if name != key})


def _raw_data(text: str) -> bytes:
    """A valid event but for a piece of JSON text that `json.dumps` would not write."""
    return _with_data(extra="HERE").replace(b'"HERE"', text.encode("utf-8", "surrogatepass"))


BAD_RECORDS: dict[str, list[bytes]] = {
    "invalid_json": [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b"\xef\xbb\xbf{}",
        b"{'a': 1}",
        b"[1,]",
        b"01",
        record({"object_type": "lead"}) + b"x",
        _raw_data("-Infinity"),
        _raw_data('"\\ud800"'),
        _raw_data('{"\\udfff x": 1}'),
        _raw_data('"\n"'),
    ],
    "invalid_event": [
        b"null",
        b"[]",
        b"5",
        b"{}",
        record({"object_type": None}),
        record({"object_type": 5}),
        record({"subscription_id": "whsub_1", "event": []}),
        *(_without(key) for key in ("id", "object_id", "action", "date_created", "data")),
        _without("organization_id"),
        *(record(event(id=bad)) for bad in (5, "", "a b", "a\n", "x" * 129, "é")),
        record(event(object_id="a,b")),
        record(event(organization_id={"$gt": ""})),
        record(event(action=None)),
        record(event(date_created="yesterday")),
        record(event(date_created="2026-02-30T00:00:00")),
        record(event(date_updated="2026-01-02T24:00:00")),
        record(event(date_updated=5)),
        record(event(lead_id="no lead")),
        record(event(lead_id=["lead_1"])),
        record(event() | {"data": None}),
        record(event() | {"data": []}),
        record(deletion(date_updated="2026-1-2")),
    ],
    "unknown_type": [
        record({"object_type": "activity."}),
        record({"object_type": "activity.fax", "id": 5}),
        record({"object_type": "activity.Call"}),
        record({"object_type": "call"}),
        record({"object_type": "LeadStatusChange"}),
        record(event(object_type="Activity.Note")),
    ],
    "type_mismatch": [
        _with_data(_type="Call", id="acti_wrong"),
        _with_data(_type=""),
        _with_data(_type="note", organization_id="orga_9"),
    ],
    "id_mismatch": [_with_data(id="acti_wrong"), _with_data(id="a b", organization_id="orga_9")],
    "organization_mismatch": [
        _with_data(organization_id="orga_9"),
        _with_data(organization_id="orga_9", user_id=5),
    ],
    "invalid_activity": [
        _with_data(id=5, _type="Call"),
        _with_data(_type=["Note"]),
        _with_data(organization_id={}, _type="Call"),
        _with_data(date_created=None),
        record(event(data={"note": "no date"})),
        *(
            _with_data(date_created=bad)
            for bad in ("", 5, "2026-01-02 10:00:00", "2026-01-02T10:00")
        ),
        *(
            _with_data(date_updated=f"2026-01-02T{bad}")
            for bad in (
                "10:00:00.",
                "10:00:00.0123456789",
                "10:00:60",
                "10:00:00+0100",
                "10:00:00z",
            )
        ),
        *(
            _with_data(activity_at=bad)
            for bad in ("0000-12-31", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01")
        ),
        _with_data(pinned_at="soon"),
        _with_data(kind="activity.call", date_answered=[]),
        _with_data(kind="activity.opportunity_status_change", opportunity_date_won="2026-13-01"),
        _with_data(lead_id=5),
        *(_with_data(**{key: "a b"}) for key in ("lead_id", "contact_id", "user_id", "created_by")),
        _with_data(updated_by=["user_1"]),
        _with_data(users="user_1"),
        _with_data(users=["user_1", None]),
        *(
            _with_data(kind="activity.email", **{key: bad})
            for key, bad in [
                ("thread_id", 5),
                ("thread_id", "a b"),
                ("subject", 5),
                ("sender", ["a"]),
                ("body_text", {}),
                ("references", "a"),
                ("references", [1]),
                ("message_ids", [None]),
                ("envelope", []),
                ("date_sent", ""),
            ]
        ),
        *(_raw_data(text) for text in ("9223372036854775808", "-9223372036854775809", "1e400")),
        _raw_data("1" * 5000),
        _raw_data("[[-1E+309]]"),
        _with_data(extra=_deep(64)),
        _raw_data("[" * 5000 + "]" * 5000),
        _with_data(**{"a\0b": 1}),
        _with_data(extra=[{"\0": 1}]),
        _with_data(**{"$set": 1}),
        _with_data(_id="x"),
        _with_data(_meta={}),
        _with_data(extra=[{"$ref": "a", "$id": 1}]),
    ],
}
"""Every code of contract 1.6 but `too_large`, which depends on settings: see `too_large_record`."""


def too_large_record(max_bytes: int) -> bytes:
    """Valid but for its size: one byte more than `max_bytes`."""
    room = max_bytes + 1 - len(_with_data(extra=""))
    return _with_data(extra="x" * room)


def bad_records() -> st.SearchStrategy[tuple[str, bytes]]:
    """(code, record value) for every code but `too_large`."""
    pairs = [(code, value) for code, values in BAD_RECORDS.items() for value in values]
    return st.sampled_from(list(BAD_RECORDS)).flatmap(
        lambda code: st.sampled_from([pair for pair in pairs if pair[0] == code])
    )


# ---------------------------------------------------------------- requests


@dataclass(frozen=True)
class Request:
    """One GET: its path (decoded, behind `/api/v1`), parameters and headers."""

    path: str
    parameters: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Parameter:
    """Values that are right by themselves, and values that are wrong."""

    good: st.SearchStrategy[str]
    bad: st.SearchStrategy[str]


def _choice(good: Sequence[str], bad: Sequence[str]) -> _Parameter:
    return _Parameter(st.sampled_from(good), st.sampled_from(bad))


def _list(values: Sequence[str], bad: Sequence[str]) -> _Parameter:
    """Comma lists of one to three values, an empty part or blanks now and then."""
    parts = _mostly(*values, rarely=["", " ", f" {values[0]}", f"{values[0]}\t"])
    lists = st.lists(parts, min_size=1, max_size=3).map(",".join)
    return _Parameter(st.one_of(st.sampled_from(values), lists), st.sampled_from(bad))


_BAD_IDS = ["a b", "é", "x" * 129, "lead_1,{}", '{"$gt":""}', "a\0b", "lead 1", "$ne", "", " ,"]
_BAD_DATES = ["now", "2026-01-02T10:00", "$gt", "0000-01-01", "2026-01-02T10:00:00+24:00", "5"]
_DATES = [
    *INSTANTS,
    *(text.split("+")[0] for text in INSTANTS),
    "2026-01-02T10:00:00.0015",
    "2026-01-02T10:00:00.000999999Z",
    "2026-01-02T11:00:00 01:00",
    "",
]
_TYPES = _list(
    [*TYPE_NAMES, *["Email", "EmailThread", "Custom"] * 4, *CUSTOM_TYPES],
    ["call", "Fax", "Email,Nothing", "actitype_a b", "$in"],
)
_FIELDS = _list(
    [
        *("id", "_type", "date_created", "lead_id", "user_id", "custom.cf_1", "added_upstream"),
        *("recording_transcript", "transcripts", "latest_emails", "thread_id", "subject", "_meta"),
        *("emails", "n_emails", "_all", "nothing", "has_attachments", "summary"),
    ],
    ["added_upstream.a", "$where", "id,,note", "_id", "_meta.revision", "custom", " id"],
)
_NUMBERS = ["-1", "x", "1.0", "+1", "1e1", " 1", "0x1", "\u0661", "1,1", "9" * 30]
PARAMETERS: dict[str, _Parameter] = {
    **dict.fromkeys(("lead_id", "lead_id__in"), _list([*LEADS, "lead_none"], _BAD_IDS)),
    **dict.fromkeys(("user_id", "user_id__in"), _list([*USERS, "user_none"], _BAD_IDS)),
    **dict.fromkeys(("contact_id", "contact_id__in"), _list([*CONTACTS, "cont_none"], _BAD_IDS)),
    **dict.fromkeys(("_type", "_type__in"), _TYPES),
    "id__in": _list([*ACTIVITIES, *GIVEN_THREADS], _BAD_IDS),
    "opportunity_id": _list(OPPORTUNITIES, _BAD_IDS),
    **dict.fromkeys(("form_id", "form_id__in"), _list(FORMS, _BAD_IDS)),
    "custom_activity_type_id": _list(CUSTOM_TYPES, _BAD_IDS),
    "custom_activity_type_id__in": _list(CUSTOM_TYPES, _BAD_IDS),
    "external_whatsapp_message_id": _list(WHATSAPP_IDS, ["none at all", "$ne"]),
    "organization_id": _list([ORGANIZATIONS[0], ORGANIZATIONS[0], ORGANIZATIONS[1]], _BAD_IDS),
    **{
        f"{name}__{how}": _choice(_DATES, _BAD_DATES)
        for name in ("date_created", "activity_at")
        for how in ("gt", "gte", "lt", "lte")
    },
    "_order_by": _choice(
        ["-date_created", "date_created", "-activity_at", "activity_at"],
        ["id", "-user_id", "date_created,id", "--date_created"],
    ),
    "thread_emails": _choice(["true", "only", "true", "only", "false", ""], ["yes", "True", "1"]),
    "_limit": _choice(["1", "2", "3", "5", "100", "0", "", " ", "007"], ["101", *_NUMBERS]),
    "_skip": _choice(["0", "1", "3", "250000", ""], ["250001", *_NUMBERS]),
    "_fields": _FIELDS,
    "_fields[0]": _FIELDS,
    "_fields[12]": _FIELDS,
    "id__in[]": _list([*ACTIVITIES, *GIVEN_THREADS], _BAD_IDS),
    "lead_id__in[1]": _list([*LEADS, "lead_none"], _BAD_IDS),
    "_type[]": _TYPES,
    "_limit[]": _choice(["1"], ["1", ""]),
    "_cursor": _choice([""], ["x", "eyJ9.x.y", "0" * 5000]),
    "unknown": _choice(["", "1", '{"$ne":1}'], ["\0"]),
    "$where": _choice(["1"], ["{"]),
    "lead_id[$gt]": _choice([""], ["1"]),
}
_NEED_A_LEAD = ("user_id", "contact_id", "_type", "_type[]", "_order_by", "user_id__in")
_FREE = ("thread_emails", "_limit", "_skip", "_fields", "organization_id", "lead_id__in", "id__in")
_ZONES = ["-4", "5.5", "-0.0", "0", "14", "-14", "+1", "-3.3333333333333335"]
_BAD_ZONES = ["14.5", "x", "nan", "1e1", "5,5", "-15"]


@st.composite
def requests(draw: st.DrawFn, ids: Sequence[str] = ACTIVITIES) -> Request:
    """A GET over every parameter; two thirds can be honoured. `ids` are worth asking for by path
    and by `id__in` (give the thread ids of your store along)."""
    own = draw(st.sampled_from([None, *[None, None, "Email", "EmailThread"] * 8, *TYPE_NAMES]))
    base = "/activity/" if own is None else f"/activity/{OWN_PATHS[own]}/"
    kind = draw(st.sampled_from(["one", "wild", *["clean"] * 6, "wrong"]))
    if kind == "one":
        path = base + draw(_mostly(*ids, rarely=["a b", "none", "call"]))
        given = draw(_given("_fields", "_fields[0]", "lead_id"))
        return Request(path, given, draw(_headers(_ZONES)))
    has_lead = draw(st.integers(0, 3)) > 0
    wanted = _NEED_A_LEAD + _FREE + _FREE if has_lead else _FREE
    names = draw(st.lists(st.sampled_from(wanted), max_size=4, unique=True))
    if kind == "wild":
        names += draw(st.lists(st.sampled_from(list(PARAMETERS)), max_size=3))
    parameters = [("lead_id", draw(st.sampled_from(["lead_1", *LEADS])))] if has_lead else []
    for name in names:
        parameter = PARAMETERS[name] if name != "id__in" else _list(ids, _BAD_IDS)
        parameters.append((name, draw(parameter.good)))
    parameters += draw(_bounds_of_sort(dict(parameters).get("_order_by", "")))
    if kind == "wrong":
        name = draw(st.sampled_from(list(PARAMETERS)))
        parameters.append((name, draw(PARAMETERS[name].bad)))
    headers = draw(_headers(_ZONES + _BAD_ZONES if kind == "wild" else _ZONES))
    return Request(path=draw(_with_or_without_slash(base)), parameters=parameters, headers=headers)


def _given(*names: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Up to two parameters out of these, with good values."""
    pairs = st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.just(name), PARAMETERS[name].good)
    )
    return st.lists(pairs, max_size=2)


_PREFERENCES = [
    "handling=strict",
    'respond-async, Handling = "STRICT"; a=b',
    'wait="1, handling=lenient", handling=strict',
    "handling=strict, handling=lenient",
    "handling=lenient, handling=strict",
    "handling",
]


def _headers(zones: Sequence[str]) -> st.SearchStrategy[dict[str, str]]:
    """In a quarter of the requests with a zone, in a sixth with a preference."""
    with_zone = st.sampled_from(zones).map(lambda zone: {"X-TZ-Offset": zone})
    with_preference = st.sampled_from(_PREFERENCES).map(lambda text: {"Prefer": text})
    nothing: st.SearchStrategy[dict[str, str]] = st.just({})
    choices = [nothing] * 7 + [with_zone] * 3 + [with_preference] * 2
    return st.sampled_from(choices).flatmap(lambda one: one)


def _with_or_without_slash(path: str) -> st.SearchStrategy[str]:
    return st.sampled_from([path, path.rstrip("/")])


def _bounds_of_sort(order: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Date bounds that go with the sort, in a quarter of the requests."""
    name = "activity_at" if order.endswith("activity_at") else "date_created"
    how = st.sampled_from(["gt", "gte", "lt", "lte"])
    pair = st.tuples(how.map(lambda one: f"{name}__{one}"), st.sampled_from(_DATES))
    pairs = st.lists(pair, min_size=1, max_size=2, unique_by=lambda one: one[0])
    return st.integers(0, 3).flatmap(lambda one: st.just([]) if one else pairs)
