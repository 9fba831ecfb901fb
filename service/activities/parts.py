"""Objects that stand inside activities of several types."""

from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema

from service.activities.base import ABSENT, GROWING, Part
from service.activities.datetimes import parse_datetime


def _check_datetime(text: str) -> str:
    parse_datetime(text)
    return text


DateTimeText = Annotated[
    str,
    AfterValidator(_check_datetime),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A date-time below the top level: checked, and kept as it came."""

MessageStatus = Annotated[
    Literal["inbox", "draft", "scheduled", "outbox", "sent", "error"], GROWING
]
MessageDirection = Annotated[Literal["incoming", "outgoing"], GROWING]
PhoneDirection = Annotated[Literal["inbound", "outbound"], GROWING]
PhoneSource = Annotated[Literal["Close.io", "External"], GROWING]
CreationSource = Annotated[
    Literal[
        "ui",
        "api",
        "import",
        "clipper",
        "email",
        "suggestion",
        "segment-integration",
        "customerio-integration",
        "calendly-integration",
        "ai",
        "whatsapp",
        "webform",
    ],
    GROWING,
]
SpeakerSide = Annotated[Literal["contact", "close-user", "voice-agent"], GROWING]


class Attachment(Part):
    """A file that an activity carries."""

    url: str = ABSENT
    filename: str | None = ABSENT
    content_type: str | None = ABSENT
    size: int | None = ABSENT
    thumbnail_url: str | None = ABSENT


class CommentSummary(Part):
    """The comments on an activity."""

    comment_count: int = ABSENT
    thread_id: str = ABSENT


class Commented(Part):
    """Fields of a type that people can comment on."""

    comment_summary: CommentSummary | None = ABSENT


class InSequence(Part):
    """Fields of a type that a sequence can create."""

    sequence_id: str | None = ABSENT
    sequence_name: str | None = ABSENT
    sequence_subscription_id: str | None = ABSENT


class PausedSubscription(Part):
    """A subscription to a sequence that an activity has paused."""

    id: str = ABSENT
    contact_id: str | None = ABSENT
    contact_name: str | None = ABSENT
    sequence_id: str = ABSENT
    sequence_name: str = ABSENT
    sequence_status: str = ABSENT


class Utterance(Part):
    """What one speaker said without a break."""

    speaker_label: str | None = ABSENT
    speaker_side: SpeakerSide | None = ABSENT
    start: float = ABSENT
    end: float = ABSENT
    text: str = ABSENT
    words: list[object] | None = ABSENT


class Transcript(Part):
    """What was said in a recording."""

    utterances: list[Utterance] = ABSENT
    summary_text: str | None = ABSENT
    summary_html: str | None = ABSENT
