"""Calls."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, GROWING, HEAVY, Activity
from service.activities.parts import InSequence, PhoneDirection, PhoneSource, Transcript

CallStatus = Annotated[
    Literal[
        "created", "in-progress", "completed", "cancel", "no-answer", "busy", "failed", "timeout"
    ],
    GROWING,
]
Disposition = Annotated[
    Literal[
        "answered", "no-answer", "vm-answer", "vm-left", "busy", "blocked", "error", "abandoned"
    ],
    GROWING,
]
CallMethod = Annotated[Literal["regular", "power", "predictive", "external"], GROWING]


class Call(InSequence, Activity):
    """A phone call, made here or logged."""

    type: Literal["Call"] = Field(alias="_type")
    status: CallStatus = ABSENT
    source: PhoneSource = ABSENT
    outcome_id: str | None = ABSENT
    direction: PhoneDirection = ABSENT
    disposition: Disposition | None = ABSENT
    call_method: CallMethod | None = ABSENT
    duration: Annotated[int, Field(description="Seconds.")] = ABSENT
    cost: Annotated[str | None, Field(description="US cents, as text.")] = ABSENT
    phone: Annotated[str | None, Field(description="E.164.")] = ABSENT
    local_phone: str | None = ABSENT
    local_phone_formatted: str | None = ABSENT
    local_country_iso: str | None = ABSENT
    remote_phone: str | None = ABSENT
    remote_phone_formatted: str | None = ABSENT
    remote_country_iso: str | None = ABSENT
    note: str = ABSENT
    note_html: str = ABSENT
    recording_url: str | None = ABSENT
    recording_duration: Annotated[int | None, Field(description="Seconds.")] = ABSENT
    recording_expires_at: datetime | None = ABSENT
    voicemail_url: str | None = ABSENT
    voicemail_duration: Annotated[int | None, Field(description="Seconds.")] = ABSENT
    has_recording: bool = ABSENT
    is_forwarded: bool = ABSENT
    is_joinable: bool = ABSENT
    is_to_group_number: bool = ABSENT
    date_answered: datetime | None = ABSENT
    forwarded_to: str | None = ABSENT
    transferred_from: str | None = ABSENT
    transferred_from_user_id: str | None = ABSENT
    transferred_to: str | None = ABSENT
    transferred_to_user_id: str | None = ABSENT
    dialer_id: str | None = ABSENT
    dialer_saved_search_id: str | None = ABSENT
    parent_meeting_id: str | None = ABSENT
    conversation_type_id: str | None = ABSENT
    playbook_id: str | None = ABSENT
    quality_info: str | None = ABSENT
    coach_legs: list[object] = ABSENT
    recording_transcript: Annotated[Transcript | None, HEAVY] = ABSENT
    voicemail_transcript: Annotated[Transcript | None, HEAVY] = ABSENT
