"""Short messages: SMS and WhatsApp."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, Activity
from service.activities.parts import (
    Attachment,
    CreationSource,
    InSequence,
    MessageDirection,
    MessageStatus,
    PhoneDirection,
    PhoneSource,
)


class SMSAttachment(Attachment):
    """A picture or a film of an MMS."""

    media_id: str = ABSENT


class SMS(InSequence, Activity):
    """A text message."""

    type: Literal["SMS"] = Field(alias="_type")
    status: MessageStatus = ABSENT
    direction: PhoneDirection = ABSENT
    text: str | None = ABSENT
    cost: Annotated[str | None, Field(description="US cents, as text.")] = ABSENT
    date_sent: datetime | None = ABSENT
    date_scheduled: datetime | None = ABSENT
    error_message: str | None = ABSENT
    local_phone: str | None = ABSENT
    local_phone_formatted: str | None = ABSENT
    local_country_iso: str | None = ABSENT
    remote_phone: str | None = ABSENT
    remote_phone_formatted: str | None = ABSENT
    remote_country_iso: str | None = ABSENT
    source: PhoneSource = ABSENT
    template_id: str | None = ABSENT
    attachments: list[SMSAttachment] = ABSENT
    agent_config_id: str | None = ABSENT
    agent_action_reason: str | None = ABSENT


class WhatsAppMessage(InSequence, Activity):
    """A WhatsApp message, brought in by an integration."""

    type: Literal["WhatsAppMessage"] = Field(alias="_type")
    external_whatsapp_message_id: str = ABSENT
    direction: MessageDirection = ABSENT
    message_markdown: str = ABSENT
    message_html: str = ABSENT
    text: str = ABSENT
    local_phone: str = ABSENT
    local_phone_formatted: str = ABSENT
    remote_phone: str = ABSENT
    remote_phone_formatted: str = ABSENT
    source: CreationSource = ABSENT
    integration_link: str | None = ABSENT
    integration_name: str | None = ABSENT
    response_to_id: str | None = ABSENT
    attachments: list[Attachment] = ABSENT
