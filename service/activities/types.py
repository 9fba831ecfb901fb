"""The table of activity types (contract 1.4). A new type is a module with its model and a row."""

from dataclasses import dataclass

from service.activities.base import (
    HARD,
    HEAVY,
    Activity,
    datetime_fields,
    marked_fields,
    nullable_fields,
    nullable_id_fields,
)
from service.activities.calls import Call
from service.activities.changes import (
    Created,
    ImportUpdate,
    LeadMerge,
    LeadStatusChange,
    OpportunityStatusChange,
)
from service.activities.emails import Email, EmailThread
from service.activities.forms import FormSubmission
from service.activities.meetings import Meeting
from service.activities.messages import SMS, WhatsAppMessage
from service.activities.notes import CustomActivity, Note
from service.activities.tasks import TaskCompleted

PREFIX = "activity."


@dataclass(frozen=True, slots=True)
class ActivityType:
    """One row: `name` is the `_type`, `path` the own list below `/activity/`.

    `datetime_fields` are the known top-level date-times; `heavy_fields` are answered only when
    `_fields` asks for them. `hard_fields` refuse the activity where their type is wrong;
    `id_fields` take `""` for null; `nullable_fields` are filled with null (contract 1.3).
    """

    name: str
    object_type: str
    path: str
    model: type[Activity]
    datetime_fields: frozenset[str]
    heavy_fields: frozenset[str]
    hard_fields: frozenset[str]
    id_fields: tuple[str, ...]
    nullable_fields: tuple[str, ...]


def _to_row(object_type: str, path: str, model: type[Activity]) -> ActivityType:
    return ActivityType(
        name=model.__name__,
        object_type=object_type,
        path=path,
        model=model,
        datetime_fields=datetime_fields(model),
        heavy_fields=marked_fields(model, HEAVY),
        hard_fields=marked_fields(model, HARD) | datetime_fields(model),
        id_fields=nullable_id_fields(model),
        nullable_fields=nullable_fields(model),
    )


TYPES: tuple[ActivityType, ...] = (
    _to_row("activity.call", "call", Call),
    _to_row("activity.email", "email", Email),
    _to_row("activity.email_thread", "emailthread", EmailThread),
    _to_row("activity.note", "note", Note),
    _to_row("activity.sms", "sms", SMS),
    _to_row("activity.whatsapp_message", "whatsapp_message", WhatsAppMessage),
    _to_row("activity.meeting", "meeting", Meeting),
    _to_row("activity.custom_activity", "custom", CustomActivity),
    _to_row("activity.created", "created", Created),
    _to_row("activity.lead_status_change", "status_change/lead", LeadStatusChange),
    _to_row(
        "activity.opportunity_status_change", "status_change/opportunity", OpportunityStatusChange
    ),
    _to_row("activity.lead_merge", "lead_merge", LeadMerge),
    _to_row("activity.task_completed", "task_completed", TaskCompleted),
    _to_row("activity.form_submission", "form_submission", FormSubmission),
    _to_row("activity.import_update", "import_update", ImportUpdate),
)

EMAIL, EMAIL_THREAD, CUSTOM_ACTIVITY = Email.__name__, EmailThread.__name__, CustomActivity.__name__

BY_NAME = {row.name: row for row in TYPES}
BY_OBJECT_TYPE = {row.object_type: row for row in TYPES}
BY_PATH = {row.path: row for row in TYPES}
_BY_WORD = {
    word: row for row in TYPES for word in (row.object_type.removeprefix(PREFIX), row.name.lower())
}


def find_meant(object_type: str) -> ActivityType | None:
    """The type that a wrong `object_type` means: its name in another case or without its prefix
    (contract 1.4)."""
    return _BY_WORD.get(object_type.lower().removeprefix(PREFIX))
