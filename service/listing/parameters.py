"""The parameters of the listing, as one table (contract 3.2, and 3.1 for own lists).

The parser, the OpenAPI document and the tests read it: a new filter is one row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Literal

from service.activities.types import TYPES, ActivityType

MAX_LIMIT = 100
MAX_SKIP = 250_000
MAX_SKIP_BEYOND_SCANS = 10_000
MAX_LEADS = 100
MAX_IDS = 100
CUSTOM = "Custom"
CUSTOM_TYPE_PREFIX = "actitype_"
_LIST_ITEM = re.compile(r"(\w+)\[[0-9]*\]")


class Form(Enum):
    """How a parameter's text is read. The lists may be comma separated, repeated, or both."""

    IDS = "ids"
    TEXTS = "texts"
    TYPES = "types"
    FIELDS = "fields"
    NUMBER = "number"
    DATETIME = "datetime"
    CHOICE = "choice"
    CURSOR = "cursor"


_ID_FILTERS = frozenset({Form.IDS, Form.TEXTS})
# These say where a query looks, and are parts of it by themselves.
_PLACES = frozenset({"id", "lead_id", "organization_id"})
_LISTS = _ID_FILTERS | {Form.TYPES, Form.FIELDS}


class OneLead(Enum):
    """Where a parameter needs exactly one lead."""

    NEVER = "never"
    LISTING = "on /activity/"
    ALWAYS = "everywhere"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: `name` as the client writes it, `field` what it looks at, `example` a value.

    `operator` says how values compare; filters of one field all hold. `maximum` is the highest
    number, or how many values are accepted; `own_list` is the only type whose own list has it.
    """

    name: str
    form: Form
    description: str
    example: str
    field: str = ""
    operator: Literal["in", "gt", "gte", "lt", "lte"] = "in"
    one_lead: OneLead = OneLead.NEVER
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    default: str | int | None = None
    own_list: str | None = None

    @property
    def takes_list(self) -> bool:
        return self.form in _LISTS

    @property
    def is_id_filter(self) -> bool:
        """Whether it must name an id where it is given: an empty one would widen the listing."""
        return self.form in _ID_FILTERS

    def needs_one_lead(self, own_type: ActivityType | None) -> bool:
        return self.one_lead is OneLead.ALWAYS or (
            self.one_lead is OneLead.LISTING and own_type is None
        )


def _ids(
    field: str,
    description: str,
    example: str,
    *,
    one_lead: OneLead = OneLead.NEVER,
    maximum: int | None = None,
    own_list: str | None = None,
    form: Form = Form.IDS,
) -> tuple[Parameter, Parameter]:
    """`field` and `field__in`, which mean the same."""
    one, several = (
        Parameter(
            name,
            form,
            description,
            example,
            field=field,
            one_lead=one_lead,
            maximum=maximum,
            own_list=own_list,
        )
        for name in (field, f"{field}__in")
    )
    return one, several


def _bounds(field: str) -> tuple[Parameter, ...]:
    words: Mapping[Literal["gt", "gte", "lt", "lte"], str] = {
        "gt": "After",
        "gte": "At or after",
        "lt": "Before",
        "lte": "At or before",
    }
    return tuple(
        Parameter(
            f"{field}__{operator}",
            Form.DATETIME,
            f"{word} this time, a date or a date-time. Only while sorting by {field}.",
            "2026-03-01T00:00:00Z" if operator.startswith("g") else "2026-04-01T00:00:00Z",
            field=field,
            operator=operator,
        )
        for operator, word in words.items()
    )


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "_limit",
        Form.NUMBER,
        "Rows of a page. 0: none, only whether anything matches.",
        "20",
        maximum=MAX_LIMIT,
        default=MAX_LIMIT,
    ),
    Parameter(
        "_skip",
        Form.NUMBER,
        "Rows to pass over. With more than 200 leads x types it ends at 10000.",
        "100",
        maximum=MAX_SKIP,
        default=0,
    ),
    Parameter(
        "_order_by",
        Form.CHOICE,
        "The sort; ties are broken by id. activity_at needs exactly one lead.",
        "-date_created",
        choices=("-date_created", "date_created", "-activity_at", "activity_at"),
        default="-date_created",
    ),
    *_bounds("date_created"),
    *_bounds("activity_at"),
    *_ids("lead_id", "Of these leads, at most 100.", "lead_harbour", maximum=MAX_LEADS),
    Parameter(
        "id__in",
        Form.IDS,
        "These activities, at most 100. Threads too where the mode shows threads.",
        "acti_example_call,acti_example_note",
        field="id",
        maximum=MAX_IDS,
    ),
    *_ids(
        "user_id",
        "Of these users; a thread where any of its emails is. Needs exactly one lead.",
        "user_ana,user_mei",
        one_lead=OneLead.LISTING,
    ),
    *_ids(
        "contact_id",
        "With these contacts; a thread where any of its emails is. Needs exactly one lead.",
        "cont_noor",
        one_lead=OneLead.LISTING,
    ),
    *_ids(
        "_type",
        "Of these types; an actitype_... id stands for one custom type. Needs exactly one lead.",
        "Call,Note",
        one_lead=OneLead.ALWAYS,
        form=Form.TYPES,
    ),
    Parameter(
        "organization_id",
        Form.IDS,
        "The caller's organization. Another one's: an empty page.",
        "orga_demo",
        field="organization_id",
    ),
    Parameter(
        "thread_emails",
        Form.CHOICE,
        "How emails appear: whole (false), stripped beside their threads (true), or as their"
        " threads alone (only).",
        "only",
        choices=("false", "true", "only"),
        default="false",
    ),
    Parameter(
        "_fields",
        Form.FIELDS,
        "Only these keys; _all = all, the heavy ones too.",
        "_type,id,date_created",
    ),
    Parameter(
        "_cursor",
        Form.CURSOR,
        "Where to go on, from a Link header. Not with _skip.",
        "eyJ0IjoxNzcyNjMyOTY0fQ.aBcD",
    ),
    Parameter(
        "_since",
        Form.CURSOR,
        "Of a listing that is followed: the id of the last event received, as Last-Event-ID.",
        example="AGkjH1qC",
    ),
    *_ids(
        "custom_activity_type_id",
        "Of these custom types. Needs exactly one lead.",
        "actitype_site_visit",
        one_lead=OneLead.ALWAYS,
        own_list="CustomActivity",
    ),
    Parameter(
        "opportunity_id",
        Form.IDS,
        "Of these opportunities.",
        "oppo_cold_storage",
        field="opportunity_id",
        own_list="OpportunityStatusChange",
    ),
    *_ids("form_id", "Of these forms.", "form_contact", own_list="FormSubmission"),
    Parameter(
        "external_whatsapp_message_id",
        Form.TEXTS,
        "With these ids of the other system.",
        "wamid.HBgLMzUxMjEwMDAwMTc3",
        field="external_whatsapp_message_id",
        own_list="WhatsAppMessage",
    ),
)

TYPE_NAMES: tuple[str, ...] = (*(row.name for row in TYPES), CUSTOM)
"""What `_type` accepts beside `actitype_...` ids."""


@cache
def parameters_of(own_type: ActivityType | None) -> Mapping[str, Parameter]:
    """The rows of `/activity/` (None) or of one type's own list, by name."""
    own_list = own_type.name if own_type else None
    return MappingProxyType(
        {row.name: row for row in PARAMETERS if row.own_list in (None, own_list)}
    )


@cache
def condition_fields() -> tuple[str, ...]:
    """What the filters look at that are conditions on the rows, in the order of the table."""
    rows = (row for row in PARAMETERS if row.is_id_filter and row.field not in _PLACES)
    return tuple(dict.fromkeys(row.field for row in rows))


_NAMES = frozenset(row.name for row in PARAMETERS)


def to_stem(name: str) -> str:
    """`name[]` and `name[0]`, as some clients write lists, are the parameter `name`; any other
    name stands for itself."""
    item = _LIST_ITEM.fullmatch(name) if name.endswith("]") else None
    return item[1] if item is not None and item[1] in _NAMES else name
