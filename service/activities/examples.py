"""One realistic event of every type, as a producer would publish it (contract 1.7).

They tell of one lead, of the organization that the demo has, so that they can be published there
as they are. `examples/`, the schemas and the demo are made from these.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from service.activities.threads import derive_thread_id
from service.activities.types import BY_NAME

Event = dict[str, Any]
Fields = dict[str, Any]

ORGANIZATION = "orga_demo"
LEAD = "lead_harbour"
CONTACT = "cont_noor"
_USERS = {"user_ana": "Ana Silva", "user_tom": "Tom Berg", "user_mei": "Mei Chen"}
_NOOR = {"email": "noor@harbour.example", "name": "Noor Aziz"}
_ANA = {"email": "ana@seller.example", "name": "Ana Silva"}
_NOOR_PHONE, _OUR_PHONE = "+351210000177", "+12025550100"
_SUBJECT = "Room for cold goods"
_SCHEMA_ID = 7


class _Told(NamedTuple):
    """What happened, when, and who did it."""

    at: str
    user_id: str | None
    fields: Fields
    action: str = "created"


def _status(old: str, new: str) -> Fields:
    return {
        "old_status_id": f"stat_{old.lower()}",
        "old_status_label": old,
        "new_status_id": f"stat_{new.lower()}",
        "new_status_label": new,
    }


def _email(
    name: str, at: str, subject: str, text: str, sender: Fields, *, asks: str = ""
) -> Fields:
    is_ours = sender is _ANA
    to = _NOOR if is_ours else _ANA
    return {
        "status": "sent" if is_ours else "inbox",
        "direction": "outgoing" if is_ours else "incoming",
        "subject": subject,
        "sender": f'"{sender["name"]}" <{sender["email"]}>',
        "to": [to["email"]],
        "cc": [],
        "bcc": [],
        "body_text": text,
        "body_html": f"<p>{text}</p>",
        "attachments": [],
        "envelope": {
            "from": [sender],
            "to": [to],
            "cc": [],
            "bcc": [],
            "subject": subject,
            "message_id": f"<{name}@harbour.example>",
            "in_reply_to": f"<{asks}@harbour.example>" if asks else None,
        },
        "message_ids": [f"<{name}@harbour.example>"],
        "references": [f"<{asks}@harbour.example>"] if asks else [],
        "date_sent": at,
        "has_reply": False,
    }


_TOLD: dict[str, _Told] = {
    "Created": _Told("2026-03-02T08:00:00.120000+00:00", None, {"source": "webform"}),
    "FormSubmission": _Told(
        "2026-03-02T08:00:01+00:00",
        None,
        {
            "form_id": "form_contact",
            "form_configuration_id": "formconf_contact_2",
            "form_name": "Contact us",
            "values": {"formfld_pallets": "120", "formfld_cold": True},
            "values_by_name": {"Pallets a month": "120", "Cold storage?": True},
            "ip_address": "192.0.2.7",
            "origin": "https://www.seller.example",
            "source_url": "https://www.seller.example/contact?from=fair",
            "source_url_normalized": "https://www.seller.example/contact",
        },
    ),
    "ImportUpdate": _Told(
        "2026-03-02T21:30:00+00:00", None, {"import_id": "import_spring_fair", "reverted": False}
    ),
    "Call": _Told(
        "2026-03-03T10:12:44.500000+00:00",
        "user_ana",
        {
            "status": "completed",
            "source": "Close.io",
            "direction": "outbound",
            "disposition": "answered",
            "call_method": "regular",
            "duration": 312,
            "cost": "4",
            "phone": _NOOR_PHONE,
            "remote_phone": _NOOR_PHONE,
            "remote_country_iso": "PT",
            "local_phone": _OUR_PHONE,
            "local_country_iso": "US",
            "note": "Needs 120 pallets a month, a third of them cold.",
            "has_recording": False,
            "date_answered": "2026-03-03T10:12:52+00:00",
        },
        "completed",
    ),
    "LeadStatusChange": _Told(
        "2026-03-03T10:20:00+00:00", "user_ana", _status("Potential", "Contacted")
    ),
    "TaskCompleted": _Told(
        "2026-03-04T09:00:00+00:00",
        "user_tom",
        {
            "task_id": "task_price_list",
            "task_text": "Send the price list",
            "task_assigned_to": "user_tom",
            "task_assigned_to_name": "Tom Berg",
        },
        "completed",
    ),
    "SMS": _Told(
        "2026-03-05T11:02:09+00:00",
        "user_ana",
        {
            "status": "sent",
            "direction": "outbound",
            "text": "May I call you at three?",
            "cost": "1",
            "date_sent": "2026-03-05T11:02:10+00:00",
            "source": "Close.io",
            "remote_phone": _NOOR_PHONE,
            "local_phone": _OUR_PHONE,
        },
        "sent",
    ),
    "WhatsAppMessage": _Told(
        "2026-03-05T11:05:31+00:00",
        "user_ana",
        {
            "external_whatsapp_message_id": "wamid.HBgMMzUxMjEwMDAwMTc3==",
            "direction": "incoming",
            "message_markdown": "Yes, *three* is fine",
            "message_html": "<p>Yes, <b>three</b> is fine</p>",
            "text": "Yes, three is fine",
            "remote_phone": _NOOR_PHONE,
            "local_phone": _OUR_PHONE,
            "source": "whatsapp",
            "attachments": [],
        },
    ),
    "Meeting": _Told(
        "2026-03-06T14:00:00+00:00",
        "user_tom",
        {
            "title": "Tour of the warehouse",
            "location": "Warehouse 2, Setúbal",
            "note": "",
            "status": "completed",
            "source": "calendar",
            "starts_at": "2026-03-06T14:00:00+00:00",
            "ends_at": "2026-03-06T14:45:00+00:00",
            "duration": 2700,
            "is_recurring": False,
            "attendees": [
                {"name": "Tom Berg", "email": "tom@seller.example", "is_organizer": True},
                {**_NOOR, "status": "yes", "contact_id": CONTACT},
            ],
            "conference_links": [{"type": "ZOOM", "url": "https://meet.example/tour"}],
        },
        "completed",
    ),
    "Email": _Told(
        "2026-03-09T16:40:00+00:00",
        "user_ana",
        _email("first", "2026-03-09T16:40:00+00:00", _SUBJECT, "Is there room in May?", _NOOR),
    ),
    "EmailThread": _Told(
        "2026-03-10T18:00:00+00:00",
        None,
        {
            "summary": {
                "status": "success",
                "summary_text": "Asks for room in May; a visit is agreed on.",
                "summary_html": "<p>Asks for room in May; a visit is agreed on.</p>",
                "generated_at": "2026-03-10T18:00:00+00:00",
            },
            "importance": {"type": "important", "reason": "has-response"},
        },
        "updated",
    ),
    "Note": _Told(
        "2026-03-11T09:30:00+00:00",
        "user_mei",
        {
            "title": "Cold storage",
            "note": "They keep fish at two degrees.",
            "note_html": "<p>They keep fish at two degrees.</p>",
            "note_mentions": [],
            "pinned": True,
            "pinned_at": "2026-03-11T09:31:00+00:00",
            "source": "ui",
        },
    ),
    "CustomActivity": _Told(
        "2026-03-12T13:00:00+00:00",
        "user_tom",
        {
            "custom_activity_type_id": "actitype_site_visit",
            "status": "published",
            "last_published_at": "2026-03-12T13:04:00+00:00",
            "pinned": False,
            "mentions": [],
            "source": "ui",
            "custom.cf_gates": 4,
            "custom.cf_remarks": "Narrow drive, small lorries only",
        },
    ),
    "OpportunityStatusChange": _Told(
        "2026-03-16T10:00:00+00:00",
        "user_ana",
        {
            **_status("Proposal", "Won"),
            "opportunity_id": "oppo_cold_storage",
            "old_status_type": "active",
            "new_status_type": "won",
            "old_pipeline_id": "pipe_sales",
            "old_pipeline_name": "Sales",
            "new_pipeline_id": "pipe_sales",
            "new_pipeline_name": "Sales",
            "opportunity_value": 240_000,
            "opportunity_value_currency": "EUR",
            "opportunity_value_formatted": "2.400 €",
            "opportunity_value_period": "monthly",
            "opportunity_confidence": 100,
            "opportunity_date_won": "2026-03-16",
        },
    ),
    "LeadMerge": _Told(
        "2026-03-17T12:00:00+00:00",
        "user_mei",
        {
            "source_lead_id": "lead_harbour_twin",
            "source_display_name": "Harbor and Sons",
            "destination_lead_id": LEAD,
            "destination_display_name": "Harbour & Sons",
            "merge_status": "completed",
            "error_message": None,
        },
    ),
}


def example_event(type_name: str) -> Event:
    """The event of this type; on `EmailThread` of what is laid over a thread, on all others of a
    whole activity."""
    told = _TOLD[type_name]
    return _to_event(type_name, BY_NAME[type_name].object_type.removeprefix("activity."), told)


def deletion() -> Event:
    """The event that deletes the example of a note; its `data` is left out."""
    deleted = example_event("Note")
    del deleted["data"]
    at = "2026-03-11T09:45:00.250000+00:00"
    changes = {"id": "ev_example_deleted", "action": "deleted"}
    return deleted | changes | {"date_created": at, "date_updated": at}


def conversation() -> Iterator[Event]:
    """The emails that follow the example of one, the last first: any order makes one thread."""
    last, answer = "2026-03-10T15:20:00+00:00", "2026-03-10T09:05:00+00:00"
    thanks = _email("third", last, f"AW: Re: {_SUBJECT}", "Then let us come.", _NOOR, asks="second")
    offer = _email("second", answer, f"Re: {_SUBJECT}", "From Monday, yes.", _ANA, asks="first")
    yield _to_event("Email", "email_third", _Told(last, "user_ana", thanks))
    yield _to_event("Email", "email_second", _Told(answer, "user_ana", offer, "sent"))
    yield example_event("Email")


def wrapped() -> dict[str, tuple[Event, bytes]]:
    """An event in each wrapping of contract 1.2, by file name: the event, and the record that holds it."""
    call, note, sms = example_event("Call"), example_event("Note"), example_event("SMS")
    created = example_event("Created")
    cloud_event = {
        "specversion": "1.0",
        "id": call["id"],
        "source": "/dialer",
        "type": "activity.call.completed",
        "datacontenttype": "application/json",
        "data": call,
    }
    connect = {"schema": {"type": "string", "optional": False}, "payload": note}
    webhook = {"subscription_id": "whsub_example", "event": sms}
    return {
        "cloudevent.json": (call, encode(cloud_event)),
        "connect.json": (note, encode(connect)),
        "framed.bin": (created, b"\0" + _SCHEMA_ID.to_bytes(4, "big") + encode(created)),
        "webhook.json": (sms, encode(webhook)),
    }


def encode(event: Mapping[str, Any]) -> bytes:
    """The value of a record: one line of JSON."""
    return json.dumps(event, ensure_ascii=False).encode()


def _to_event(type_name: str, name: str, told: _Told) -> Event:
    row = BY_NAME[type_name]
    user_id = told.user_id
    id_ = _thread_id() if type_name == "EmailThread" else f"acti_example_{name}"
    return {
        "id": f"ev_example_{name}",
        "object_type": row.object_type,
        "object_id": id_,
        "action": told.action,
        "date_created": told.at,
        "date_updated": told.at,
        "organization_id": ORGANIZATION,
        "lead_id": LEAD,
        "user_id": user_id,
        "data": {
            "_type": type_name,
            "id": id_,
            "organization_id": ORGANIZATION,
            "lead_id": LEAD,
            **({} if type_name == "TaskCompleted" else {"contact_id": CONTACT}),
            **_names("user_id", "user_name", user_id),
            "users": [],
            **_names("created_by", "created_by_name", user_id),
            **_names("updated_by", "updated_by_name", user_id),
            "date_created": told.at,
            "date_updated": told.at,
            "activity_at": told.at,
            **told.fields,
        },
    }


def _names(id_field: str, name_field: str, user_id: str | None) -> Fields:
    return {id_field: user_id, name_field: _USERS.get(user_id or "")}


def _thread_id() -> str:
    """The id of the thread that the emails of the conversation make (contract 2)."""
    email = {"id": "", "lead_id": LEAD, "subject": _SUBJECT}
    return derive_thread_id(ORGANIZATION, email)
