"""Submitted forms."""

from typing import Annotated, Literal

from pydantic import Field

from service.activities.base import ABSENT, Activity

FormValues = dict[str, str | bool | None]


class FormSubmission(Activity):
    """Somebody filled in a form."""

    type: Literal["FormSubmission"] = Field(alias="_type")
    form_id: str = ABSENT
    form_configuration_id: str = ABSENT
    form_name: str | None = ABSENT
    values: Annotated[FormValues, Field(description="By `formfld_...` id.")] = ABSENT
    values_by_name: Annotated[FormValues, Field(description="By the label of the field.")] = ABSENT
    ip_address: str | None = ABSENT
    origin: str | None = ABSENT
    source_url: str | None = ABSENT
    source_url_normalized: str | None = ABSENT
