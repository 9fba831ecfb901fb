"""What every activity has in common, and the marks by which a model is read as a table.

The models describe an activity as the API answers it, after the filling of contract 1.3. Events
are only checked against them (`checks.py`); nobody builds instances. Four readings of a field:

* required and nullable: filled with null where the producer leaves it out;
* typed `datetime`: a known top-level date-time, stored as a date and a hard field;
* marked `HARD`: a wrong type refuses the activity; elsewhere it is kept and counted;
* marked `HEAVY`: answered only when `_fields` asks for it.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Mark(Enum):
    """What a field's type alone does not say."""

    HARD = "hard"
    HEAVY = "heavy"


HARD: Literal[Mark.HARD] = Mark.HARD
HEAVY: Literal[Mark.HEAVY] = Mark.HEAVY


class Growing:
    """Marks an enumeration that the upstream schema extends without asking.

    A new value is counted, not refused; OpenAPI shows the known ones as an open list.
    """

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        closed = handler(core_schema)
        return {"type": "string", "x-extensible-enum": closed["enum"]}


GROWING = Growing()

# A field that producers may leave out. It has no value then, not even null, so OpenAPI gets no default.
ABSENT: Any = Field(default_factory=lambda: None)

ID_PATTERN = "^[A-Za-z0-9_.:@-]{1,128}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


class Part(BaseModel):
    """An object of known shape that may hold unknown keys too."""

    model_config = ConfigDict(extra="allow")


class Activity(Part):
    """The fields of every activity (contract 1.3)."""

    type: str = Field(alias="_type")
    id: Annotated[Id, HARD]
    organization_id: Annotated[Id, HARD]
    lead_id: Annotated[Id | None, HARD]
    contact_id: Annotated[Id | None, HARD]
    user_id: Annotated[Id | None, HARD]
    user_name: str | None
    users: Annotated[list[str], HARD]
    created_by: Annotated[Id | None, HARD]
    created_by_name: str | None
    updated_by: Annotated[Id | None, HARD]
    updated_by_name: str | None
    date_created: Annotated[datetime, Field(description="When it was created or synchronised.")]
    date_updated: datetime
    activity_at: Annotated[datetime, Field(description="When it happened.")]


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a model under the names that JSON gives them."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def marked_fields(model: type[Activity], mark: Mark) -> frozenset[str]:
    """The names of the fields that carry this mark."""
    return frozenset(name for name, field in fields_of(model) if mark in field.metadata)


def datetime_fields(model: type[Activity]) -> frozenset[str]:
    """The names of the known top-level date-times."""
    return frozenset(
        name
        for name, field in fields_of(model)
        if datetime in (field.annotation, *get_args(field.annotation))
    )


def nullable_fields(model: type[Activity]) -> tuple[str, ...]:
    """The names of the fields that are filled with null where they are absent."""
    return tuple(
        name
        for name, field in fields_of(model)
        if field.is_required() and type(None) in get_args(field.annotation)
    )


def nullable_id_fields(model: type[Activity]) -> tuple[str, ...]:
    """The names of the fields that hold an id or null; `""` counts as null."""
    return tuple(name for name, field in fields_of(model) if Id in get_args(field.annotation))
