"""The table of activity types (contract 1.4), read from the models."""

from datetime import datetime
from typing import Any, get_args

import pytest

from service.activities.base import Activity, fields_of
from service.activities.types import BY_NAME, BY_OBJECT_TYPE, BY_PATH, TYPES, ActivityType

BASE_DATETIMES = {"date_created", "date_updated", "activity_at"}
BASE_NULLS = {
    "lead_id",
    "contact_id",
    "user_id",
    "user_name",
    "created_by",
    "created_by_name",
    "updated_by",
    "updated_by_name",
}
BASE_HARD = {"id", "organization_id", "lead_id", "contact_id", "user_id", "users"} | {
    "created_by",
    "updated_by",
    *BASE_DATETIMES,
}

each_type = pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)


def test_table_is_that_of_the_contract() -> None:
    rows = [(row.object_type.removeprefix("activity."), row.name, row.path) for row in TYPES]

    assert rows == [
        ("call", "Call", "call"),
        ("email", "Email", "email"),
        ("email_thread", "EmailThread", "emailthread"),
        ("note", "Note", "note"),
        ("sms", "SMS", "sms"),
        ("whatsapp_message", "WhatsAppMessage", "whatsapp_message"),
        ("meeting", "Meeting", "meeting"),
        ("custom_activity", "CustomActivity", "custom"),
        ("created", "Created", "created"),
        ("lead_status_change", "LeadStatusChange", "status_change/lead"),
        (
            "opportunity_status_change",
            "OpportunityStatusChange",
            "status_change/opportunity",
        ),
        ("lead_merge", "LeadMerge", "lead_merge"),
        ("task_completed", "TaskCompleted", "task_completed"),
        ("form_submission", "FormSubmission", "form_submission"),
        ("import_update", "ImportUpdate", "import_update"),
    ]


@each_type
def test_row_is_found_by_each_of_its_names(row: ActivityType) -> None:
    assert BY_NAME[row.name] is row
    assert BY_OBJECT_TYPE[row.object_type] is row
    assert BY_PATH[row.path] is row


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("Call", {"recording_expires_at", "date_answered"}),
        ("Email", {"date_sent", "date_scheduled"}),
        ("EmailThread", set()),
        ("Note", {"pinned_at"}),
        ("SMS", {"date_sent", "date_scheduled"}),
        ("WhatsAppMessage", set()),
        ("Meeting", {"starts_at", "ends_at", "user_note_date_updated"}),
        ("CustomActivity", {"last_published_at", "pinned_at", "mentions_updated_at"}),
        ("Created", set()),
        ("LeadStatusChange", set()),
        ("OpportunityStatusChange", {"opportunity_date_won"}),
        ("LeadMerge", set()),
        ("TaskCompleted", set()),
        ("FormSubmission", set()),
        ("ImportUpdate", set()),
    ],
)
def test_date_times_of_each_type(name: str, own: set[str]) -> None:
    assert BY_NAME[name].datetime_fields == BASE_DATETIMES | own


def test_only_transcripts_are_heavy() -> None:
    heavy = {row.name: row.heavy_fields for row in TYPES if row.heavy_fields}

    assert heavy == {
        "Call": {"recording_transcript", "voicemail_transcript"},
        "Meeting": {"transcripts"},
    }


@each_type
def test_nulls_are_filled_as_the_contract_says(row: ActivityType) -> None:
    own = {
        "Email": {"body_preview", "thread_id"},
    }
    without = {"contact_id"} if row.name == "TaskCompleted" else set()

    assert set(row.nullable_fields) == (BASE_NULLS | own.get(row.name, set())) - without


@each_type
def test_hard_fields_are_those_of_the_contract(row: ActivityType) -> None:
    email = {"thread_id", "subject", "sender", "body_text"}
    email |= {"references", "message_ids", "envelope"}
    own = email if row.name == "Email" else set()

    assert row.hard_fields == BASE_HARD | row.datetime_fields | own


@each_type
def test_model_names_its_type(row: ActivityType) -> None:
    annotation = row.model.model_fields["type"].annotation

    assert get_args(annotation) == (row.name,)


@each_type
def test_schema_requires_what_is_always_answered(row: ActivityType) -> None:
    schema = row.model.model_json_schema()
    base = {field.alias or name for name, field in Activity.model_fields.items()}
    own = {"Email": {"body_preview", "thread_id"}}.get(row.name, set())
    without = {"contact_id"} if row.name == "TaskCompleted" else set()

    assert set(schema["required"]) == (base | own) - without
    assert schema["additionalProperties"] is True
    assert schema["properties"]["_type"]["const"] == row.name


@each_type
def test_schema_shows_date_times_and_open_enumerations(row: ActivityType) -> None:
    schema = row.model.model_json_schema()
    shown = {name for name, part in schema["properties"].items() if _is_datetime(part)}

    assert shown == row.datetime_fields
    assert "enum" not in _keys_in(schema)
    assert "default" not in _keys_in(schema)


def test_every_date_time_is_typed_so() -> None:
    for row in TYPES:
        for name, field in fields_of(row.model):
            if name.startswith("date_") or name.endswith("_at"):
                assert datetime in (field.annotation, *get_args(field.annotation)), name


def _is_datetime(part: dict[str, Any]) -> bool:
    return any(one.get("format") == "date-time" for one in (part, *part.get("anyOf", ())))


def _keys_in(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {key for part in schema for key in _keys_in(part)}
    if not isinstance(schema, dict):
        return set()
    return set(schema) | {key for part in schema.values() for key in _keys_in(part)}
