"""Emails, one per message, and the threads that are derived from them (contract 2)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from service.activities.base import ABSENT, GROWING, HARD, ID_PATTERN, Activity, Id, Part
from service.activities.parts import (
    Attachment,
    Commented,
    DateTimeText,
    InSequence,
    MessageDirection,
    MessageStatus,
)


class EmailAttachment(Attachment):
    """A file of an email."""

    content_id: str | None = ABSENT
    inline_only: bool = ABSENT


class EmailIdentity(Part):
    """An address and who it belongs to."""

    email: str = ABSENT
    name: str | None = ABSENT


class EmailEnvelope(Part):
    """The headers of an email."""

    from_: list[EmailIdentity] = Field(alias="from", default_factory=list)
    sender: list[EmailIdentity] = ABSENT
    to: list[EmailIdentity] = ABSENT
    cc: list[EmailIdentity] = ABSENT
    bcc: list[EmailIdentity] = ABSENT
    reply_to: list[EmailIdentity] = ABSENT
    date: Annotated[str | None, Field(description="As in the message (RFC 2822).")] = ABSENT
    subject: str | None = ABSENT
    message_id: str | None = ABSENT
    in_reply_to: str | None = ABSENT
    is_autoreply: bool = ABSENT


class EmailOpen(Part):
    """One opening of an email."""

    opened_at: DateTimeText = ABSENT
    opened_by: str | None = ABSENT
    ip_address: str | None = ABSENT
    user_agent: str | None = ABSENT


class SendAttempt(Part):
    """One failed attempt to send an email."""

    date: DateTimeText = ABSENT
    error_class: str | None = ABSENT
    error_message: str | None = ABSENT


class TextQuote(Part):
    """A piece of a body in plain text; a quoted one is shown folded."""

    text: str = ABSENT
    expand: bool = ABSENT


class HtmlQuote(Part):
    """A piece of a body in HTML; a quoted one is shown folded."""

    html: str = ABSENT
    expand: bool = ABSENT


class Email(InSequence, Activity):
    """One message."""

    type: Literal["Email"] = Field(alias="_type")
    # Null only until it is derived, so the API never answers that.
    thread_id: Annotated[
        Id | None,
        HARD,
        Field(description="The id of its EmailThread."),
        WithJsonSchema({"type": "string", "pattern": ID_PATTERN}),
    ]
    status: MessageStatus = ABSENT
    direction: MessageDirection | None = ABSENT
    subject: Annotated[str | None, HARD] = ABSENT
    sender: Annotated[str | None, HARD, Field(description='`"Name" <address>`')] = ABSENT
    to: list[str] = ABSENT
    cc: list[str] = ABSENT
    bcc: list[str] = ABSENT
    body_text: Annotated[str | None, HARD] = ABSENT
    body_html: str | None = ABSENT
    body_preview: Annotated[str | None, Field(description="At most 200 characters.")]
    body_text_quoted: list[TextQuote] | None = ABSENT
    body_html_quoted: list[HtmlQuote] | None = ABSENT
    attachments: list[EmailAttachment | None] = ABSENT
    envelope: Annotated[EmailEnvelope | None, HARD] = ABSENT
    message_ids: Annotated[list[str] | None, HARD] = ABSENT
    references: Annotated[list[str] | None, HARD] = ABSENT
    in_reply_to_id: str | None = ABSENT
    date_sent: datetime | None = ABSENT
    date_scheduled: datetime | None = ABSENT
    email_account_id: str | None = ABSENT
    send_as_id: str | None = ABSENT
    template_id: str | None = ABSENT
    template_name: str | None = ABSENT
    bulk_email_action_id: str | None = ABSENT
    opens: list[EmailOpen | None] = ABSENT
    opens_summary: str | None = ABSENT
    has_reply: bool = ABSENT
    send_attempts: list[SendAttempt | None] = ABSENT
    need_smtp_credentials: bool = ABSENT
    followup_sequence_id: str | None = ABSENT
    followup_sequence_delay: Annotated[int | None, Field(description="Seconds.")] = ABSENT
    followup_sequence_add_cc_bcc: bool = ABSENT
    agent_config_id: str | None = ABSENT
    agent_action_reason: str | None = ABSENT


class EmailPreview(Part):
    """The stripped form of an email: these 17 keys, always all of them (contract 2)."""

    id: str
    user_id: str | None
    subject: str | None
    sender: str | None
    to: list[str]
    cc: list[str]
    bcc: list[str]
    status: MessageStatus | None
    direction: MessageDirection | None
    date_created: DateTimeText
    date_updated: DateTimeText
    date_sent: DateTimeText | None
    envelope: EmailEnvelope | None
    body_preview: str | None
    has_attachments: bool
    opens_summary: str | None
    send_as_id: str | None


SummaryStatus = Annotated[Literal["pending", "success", "failure", "expired"], GROWING]
Rating = Annotated[Literal["positive", "negative"], GROWING]
ImportanceType = Annotated[Literal["important", "not_important"], GROWING]
ImportanceReason = Annotated[
    Literal[
        "manual",
        "contains-manual-message",
        "most-recent-communication",
        "has-response",
        "whitelisted",
        "by-default",
        "unset-initial-default",
        "scheduling-emails",
        "automated-outbound",
        "marketing-or-transactional",
    ],
    GROWING,
]


class SummaryFeedback(Part):
    """What a user thought of a summary."""

    rating: Rating = ABSENT
    detail: str | None = ABSENT
    given_at: DateTimeText = ABSENT


class ThreadSummary(Part):
    """A thread in a few sentences."""

    status: SummaryStatus = ABSENT
    summary_text: str | None = ABSENT
    summary_html: str | None = ABSENT
    generated_at: DateTimeText | None = ABSENT
    expired_at: DateTimeText | None = ABSENT
    updated_at: DateTimeText = ABSENT
    feedback: SummaryFeedback | None = ABSENT


class Importance(Part):
    """Whether a thread is worth reading, and why."""

    type: ImportanceType = ABSENT
    reason: ImportanceReason = ABSENT


class EmailThread(Commented, Activity):
    """A conversation, derived from its emails; the last three fields come from upstream."""

    type: Literal["EmailThread"] = Field(alias="_type")
    latest_normalized_subject: Annotated[
        str | None, Field(description="Of the newest email, without reply and forward marks.")
    ] = ABSENT
    n_emails: int | None = ABSENT
    participants: Annotated[
        list[EmailIdentity], Field(description="Distinct senders, newest first, at most 500.")
    ] = ABSENT
    latest_emails: Annotated[
        list[EmailPreview], Field(description="The five newest, newest first.")
    ] = ABSENT
    emails: Annotated[
        list[Email],
        Field(description="Newest first, without bodies; on a single thread only."),
    ] = ABSENT
    summary: ThreadSummary | None = ABSENT
    importance: Importance = ABSENT
