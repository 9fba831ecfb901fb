"""Completed tasks."""

from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, HARD, Activity, Id
from service.activities.parts import Commented, InSequence


class TaskCompleted(Commented, InSequence, Activity):
    """A task was done. The only type without a contact: one that comes is kept, none is filled."""

    type: Literal["TaskCompleted"] = Field(alias="_type")
    contact_id: Annotated[Id | None, HARD] = ABSENT
    task_id: str | None = ABSENT
    task_text: str | None = ABSENT
    task_assigned_to: str | None = ABSENT
    task_assigned_to_name: str | None = ABSENT
