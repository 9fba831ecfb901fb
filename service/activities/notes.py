"""What people write down: notes and custom activities."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, GROWING, Activity
from service.activities.parts import Attachment, Commented, CreationSource

PublicationStatus = Annotated[Literal["draft", "published"], GROWING]


class Note(Commented, Activity):
    """A note."""

    type: Literal["Note"] = Field(alias="_type")
    note: str = ABSENT
    note_html: str = ABSENT
    note_mentions: list[str] = ABSENT
    title: str | None = ABSENT
    pinned: bool = ABSENT
    pinned_at: datetime | None = ABSENT
    attachments: list[Attachment] = ABSENT
    source: CreationSource | None = ABSENT


class CustomActivity(Commented, Activity):
    """An activity of an organization's own type; its own fields are the keys `custom.cf_...`."""

    type: Literal["CustomActivity"] = Field(alias="_type")
    custom_activity_type_id: str = ABSENT
    status: PublicationStatus = ABSENT
    last_published_at: datetime | None = ABSENT
    pinned: bool = ABSENT
    pinned_at: datetime | None = ABSENT
    mentions: list[str] = ABSENT
    mentions_updated_at: datetime | None = ABSENT
    source: CreationSource | None = ABSENT
