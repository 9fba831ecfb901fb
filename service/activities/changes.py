"""What became of a lead: created, imported, moved to a status, merged."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, GROWING, Activity
from service.activities.parts import CreationSource, PausedSubscription

StatusType = Annotated[Literal["won", "lost", "active"], GROWING]
ValuePeriod = Annotated[Literal["one_time", "monthly", "annual"], GROWING]
MergeStatus = Annotated[Literal["pending", "in_progress", "completed", "errored"], GROWING]


class Created(Activity):
    """A lead was created."""

    type: Literal["Created"] = Field(alias="_type")
    source: CreationSource | None = ABSENT
    import_id: str | None = ABSENT


class ImportUpdate(Activity):
    """An import changed a lead."""

    type: Literal["ImportUpdate"] = Field(alias="_type")
    import_id: str | None = ABSENT
    reverted: bool = ABSENT


class LeadStatusChange(Activity):
    """A lead moved from one status to another."""

    type: Literal["LeadStatusChange"] = Field(alias="_type")
    old_status_id: str = ABSENT
    new_status_id: str = ABSENT
    old_status_label: str = ABSENT
    new_status_label: str = ABSENT
    paused_subscriptions: list[PausedSubscription] = Field(
        alias="_paused_subscriptions", default_factory=list
    )


class OpportunityStatusChange(Activity):
    """An opportunity moved from one status to another."""

    type: Literal["OpportunityStatusChange"] = Field(alias="_type")
    opportunity_id: str | None = ABSENT
    old_status_id: str = ABSENT
    new_status_id: str = ABSENT
    old_status_label: str = ABSENT
    new_status_label: str = ABSENT
    old_status_type: StatusType = ABSENT
    new_status_type: StatusType = ABSENT
    old_pipeline_id: str = ABSENT
    new_pipeline_id: str = ABSENT
    old_pipeline_name: str = ABSENT
    new_pipeline_name: str = ABSENT
    opportunity_value: Annotated[
        int | None, Field(description="In the smallest unit of the currency.")
    ] = ABSENT
    opportunity_value_currency: str | None = ABSENT
    opportunity_value_formatted: str | None = ABSENT
    opportunity_value_period: ValuePeriod | None = ABSENT
    opportunity_confidence: int | None = ABSENT
    opportunity_date_won: datetime | None = ABSENT


class LeadMerge(Activity):
    """Two leads became one."""

    type: Literal["LeadMerge"] = Field(alias="_type")
    source_lead_id: str = ABSENT
    source_display_name: str | None = ABSENT
    destination_lead_id: str = ABSENT
    destination_display_name: str | None = ABSENT
    merge_status: MergeStatus = ABSENT
    error_message: str | None = ABSENT
