"""Meetings."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, GROWING, HEAVY, Activity, Part
from service.activities.parts import Commented, PausedSubscription, SpeakerSide, Transcript

MeetingStatus = Annotated[
    Literal[
        "upcoming", "in-progress", "completed", "canceled", "declined-by-org", "declined-by-lead"
    ],
    GROWING,
]
MeetingSource = Annotated[Literal["calendar", "manual"], GROWING]
AttendeeStatus = Annotated[Literal["noreply", "yes", "no", "maybe"], GROWING]
CalendarProvider = Annotated[Literal["google", "microsoft"], GROWING]
ConferenceType = Annotated[
    Literal[
        "ZOOM",
        "GOOGLE_MEET",
        "GOOGLE_HANGOUTS",
        "MICROSOFT_TEAMS",
        "SKYPE",
        "WEBEX",
        "GO_TO_MEETING",
    ],
    GROWING,
]
OutcomeReason = Annotated[Literal["autofilled", "user-selected", "voicemail-dropped"], GROWING]
Confidence = Annotated[Literal["low", "medium", "high"], GROWING]
ChoiceReason = Annotated[Literal["user-selected", "autodetected"], GROWING]


class Attendee(Part):
    """Somebody who was asked to come."""

    name: str | None = ABSENT
    email: str | None = ABSENT
    status: AttendeeStatus | None = ABSENT
    is_organizer: bool | None = ABSENT
    user_id: str | None = ABSENT
    contact_id: str | None = ABSENT


class ConferenceLink(Part):
    """Where to meet on line."""

    type: ConferenceType = ABSENT
    url: str = ABSENT


class MeetingSummary(Part):
    """A meeting in a few sentences."""

    text: str | None = ABSENT
    html: str | None = ABSENT


class Speaker(Part):
    """One voice of a meeting and how long it was heard."""

    speaker_label: str | None = ABSENT
    speaker_side: SpeakerSide | None = ABSENT
    talk_time: float = ABSENT
    talk_percentage: float = ABSENT


class MeetingTranscript(Transcript):
    """What was said in a meeting."""

    id: str = ABSENT
    has_speaker_labels: bool = ABSENT
    speakers: list[Speaker] = ABSENT


class Meeting(Commented, Activity):
    """A meeting, from a calendar or entered by hand."""

    type: Literal["Meeting"] = Field(alias="_type")
    title: str = ABSENT
    location: str = ABSENT
    note: str = ABSENT
    starts_at: datetime | None = ABSENT
    ends_at: datetime | None = ABSENT
    duration: Annotated[int, Field(description="Seconds.")] = ABSENT
    actual_duration: Annotated[int | None, Field(description="Seconds.")] = ABSENT
    status: MeetingStatus | None = ABSENT
    source: MeetingSource = ABSENT
    is_recurring: bool = ABSENT
    attendees: list[Attendee] = ABSENT
    calendar_event_link: str | None = ABSENT
    calendar_event_uids: list[str] = ABSENT
    provider_calendar_event_id: str | None = ABSENT
    provider_calendar_ids: list[str] = ABSENT
    provider_calendar_type: CalendarProvider | None = ABSENT
    conference_links: list[ConferenceLink] = ABSENT
    connected_account_id: str | None = ABSENT
    notetaker_id: str | None = ABSENT
    attached_call_ids: list[str] = ABSENT
    integrations: list[dict[str, object]] = ABSENT
    user_note: str | None = ABSENT
    user_note_html: str | None = ABSENT
    user_note_date_updated: datetime | None = ABSENT
    user_note_mentions: list[str] = ABSENT
    outcome_id: str | None = ABSENT
    outcome_reason: OutcomeReason | None = ABSENT
    outcome_autofill_confidence: Confidence | None = ABSENT
    outcome_autofill_reasoning: str | None = ABSENT
    conversation_type_id: str | None = ABSENT
    conversation_type_reason: ChoiceReason | None = ABSENT
    playbook_id: str | None = ABSENT
    playbook_reason: ChoiceReason | None = ABSENT
    summary: MeetingSummary | None = ABSENT
    paused_subscriptions: list[PausedSubscription] = Field(
        alias="_paused_subscriptions", default_factory=list
    )
    transcripts: Annotated[list[MeetingTranscript] | None, HEAVY] = ABSENT
