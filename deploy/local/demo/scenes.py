"""What each kind of activity looks like, beyond the fields that all of them have."""

from datetime import datetime, timedelta
from email.utils import format_datetime, formataddr
from typing import Any

from deploy.local.demo.journal import Activity, Journal, Lead, User

Fields = dict[str, Any]

OUR_PHONE = "+12025550100"
OPPORTUNITY = "oppo_pallets"


def call(lead: Lead, seconds: int, note_text: str) -> Fields:
    return {
        "status": "completed",
        "source": "Close.io",
        "direction": "outbound",
        "disposition": "answered",
        "call_method": "regular",
        "duration": seconds,
        "cost": "4",
        "phone": lead.contact.phone,
        "remote_phone": lead.contact.phone,
        "local_phone": OUR_PHONE,
        "note": note_text,
        "has_recording": False,
    }


def text_message(lead: Lead, text: str) -> Fields:
    return {
        "status": "sent",
        "direction": "outbound",
        "text": text,
        "source": "Close.io",
        "remote_phone": lead.contact.phone,
        "local_phone": OUR_PHONE,
    }


def whatsapp(lead: Lead, text: str) -> Fields:
    return {
        "external_whatsapp_message_id": f"wamid.{lead.id}",
        "direction": "incoming",
        "message_markdown": f"*{text}*",
        "message_html": f"<p><b>{text}</b></p>",
        "text": text,
        "remote_phone": lead.contact.phone,
        "local_phone": OUR_PHONE,
        "source": "whatsapp",
    }


def note(text: str) -> Fields:
    return {"note": text, "note_html": f"<p>{text}</p>", "pinned": False, "source": "ui"}


def meeting(lead: Lead, at: datetime, title: str) -> Fields:
    return {
        "title": title,
        "location": "Warehouse 2, Setúbal",
        "status": "completed",
        "source": "calendar",
        "starts_at": at.isoformat(),
        "ends_at": (at + timedelta(minutes=45)).isoformat(),
        "duration": 2700,
        "is_recurring": False,
        "attendees": [{"name": lead.contact.name, "email": lead.contact.email, "status": "yes"}],
    }


def task(text: str) -> Fields:
    return {"task_id": "task_demo", "task_text": text, "task_assigned_to": None}


def lead_status(old: str, new: str) -> Fields:
    return {
        "old_status_id": f"stat_{old.lower()}",
        "new_status_id": f"stat_{new.lower()}",
        "old_status_label": old,
        "new_status_label": new,
    }


def opportunity(old: str, new: str) -> Fields:
    return {
        **lead_status(old.replace(" ", "_"), new.replace(" ", "_")),
        "old_status_label": old,
        "new_status_label": new,
        "opportunity_id": OPPORTUNITY,
        "opportunity_value": 4_800_000,
        "opportunity_value_currency": "EUR",
        "opportunity_value_formatted": "€48,000",
        "opportunity_value_period": "annual",
    }


def site_visit() -> Fields:
    return {
        "custom_activity_type_id": "actitype_site_visit",
        "status": "published",
        "custom.cf_forklifts": 6,
        "custom.cf_remarks": "Two docks, no ramp",
    }


def merge(lead: Lead) -> Fields:
    return {
        "source_lead_id": "lead_brightwater_gmbh",
        "source_display_name": "Brightwater GmbH",
        "destination_lead_id": lead.id,
        "destination_display_name": lead.name,
        "merge_status": "completed",
    }


def form() -> Fields:
    return {
        "form_id": "form_quote",
        "form_configuration_id": "formconf_quote",
        "form_name": "Ask for a quote",
        "values": {"formfld_pallets": "400", "formfld_terms": True},
        "values_by_name": {"Pallets a month (approx.)": "400", "I accept the terms": True},
    }


class Conversation:
    """Emails between one of us and one of them; each answers the one before."""

    def __init__(
        self, journal: Journal, lead: Lead, user: User, subject: str, thread_id: str | None = None
    ) -> None:
        self._journal = journal
        self._lead = lead
        self._user = user
        self._subject = subject
        self._thread_id = thread_id
        self._message_ids: list[str] = []

    @property
    def n_emails(self) -> int:
        return len(self._message_ids)

    def send(self, at: datetime, text: str, mark: str = "") -> Activity:
        return self._write(at, text, mark, is_ours=True)

    def receive(self, at: datetime, text: str, mark: str = "") -> Activity:
        return self._write(at, text, mark, is_ours=False)

    def _write(self, at: datetime, text: str, mark: str, *, is_ours: bool) -> Activity:
        ours = {"name": self._user.name, "email": self._user.email}
        theirs = {"name": self._lead.contact.name, "email": self._lead.contact.email}
        sender, receiver = (ours, theirs) if is_ours else (theirs, ours)
        message_id = f"<{self._journal.new_id('message')}@mail.example>"
        fields = {
            "direction": "outgoing" if is_ours else "incoming",
            "status": "sent" if is_ours else "inbox",
            "subject": mark + self._subject,
            "sender": formataddr((sender["name"], sender["email"])),
            "to": [receiver["email"]],
            "cc": [],
            "bcc": [],
            "body_text": text,
            "body_html": f"<p>{text}</p>",
            "attachments": [],
            "date_sent": at.isoformat(),
            "thread_id": self._thread_id,
            "message_ids": [message_id],
            "references": list(self._message_ids),
            "envelope": {
                "from": [sender],
                "to": [receiver],
                "date": format_datetime(at),
                "subject": mark + self._subject,
                "message_id": message_id,
                "in_reply_to": self._message_ids[-1] if self._message_ids else None,
                "is_autoreply": False,
            },
        }
        self._message_ids.append(message_id)
        return self._journal.create("Email", self._lead, self._user, at, **fields)
