"""The parts that the operations of the document share: parameters, headers, errors, pages."""

from collections.abc import Iterable
from typing import Any

from openapi_pydantic import (
    Example,
    Header,
    MediaType,
    Parameter,
    Reference,
    RequestBody,
    Response,
    Schema,
)

from service.activities.base import ID_PATTERN
from service.activities.types import EMAIL, EMAIL_THREAD, TYPES, ActivityType
from service.api.examples import example_errors, example_me
from service.api.failures import phrase
from service.api.schemas import REFERENCE, activity_schemas, one_of
from service.listing.datetimes import TZ_OFFSET
from service.listing.parameters import (
    CUSTOM_TYPE_PREFIX,
    MAX_LIMIT,
    PARAMETERS,
    TYPE_NAMES,
    Form,
    parameters_of,
)
from service.listing.parameters import Parameter as ListingParameter

ANY_TYPE = "Activity"
ERROR_STATUSES = (400, 401, 404, 413, 414)
LATER_STATUSES = (429, 503, 504)
VALIDATORS = ("ETag", "Cache-Control", "Preference-Applied")
LAST_EVENT_ID = "Last-Event-ID"
REQUEST_HEADERS = ("If-None-Match", "Prefer")

ID_SCHEMA: dict[str, Any] = {"type": "string", "pattern": ID_PATTERN}
DATETIME_SCHEMA: dict[str, Any] = {
    "description": f"Without an offset: in the zone of {TZ_OFFSET}, else UTC.",
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}],
}
EXAMPLE_TAG = 'W/"0f8e2c6b1d3a4f5e9c7b8a6d5e4f3a2b"'
_ID: dict[str, Any] = {
    "required": True,
    "description": "The id of an activity or a thread.",
    "example": "acti_example_call",
}
_ONE_LEAD = " Needs exactly one lead."
_ANY_TEXT = (Form.FIELDS, Form.TEXTS, Form.CURSOR)
# Answered before it is known whose the request is, and so what is left of its rate.
_ERRORS = {
    400: "Bad Request: a parameter cannot be honoured; the text says what would be accepted.",
    401: "Unauthorized: no API key, or one that is not known.",
    404: "Not Found: no such path, or no such activity in the caller's organization.",
    405: "Method Not Allowed: writing happens through Kafka.",
    406: "Not Acceptable: events are asked for, and following is switched off here.",
    410: "Gone: what has happened since the event is not kept any more; begin anew.",
    413: "Content Too Large: the body with `_params` is over its cap.",
    414: "URI Too Long: send the parameters in a body with `_params`.",
    429: "Too Many Requests: over the key's rate.",
    503: "Service Unavailable: over capacity, or MongoDB is away.",
    504: "Gateway Timeout: the query ran past its time limit.",
}
_BEFORE_THE_KEY = (401, 414)
_FAILURE_HEADERS = {
    400: ("Preference-Applied",),
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: (
        "RateLimit-Reset",
        "X-Rate-Limit-Limit",
        "X-Rate-Limit-Remaining",
        "X-Rate-Limit-Reset",
    ),
}


# --- parameters ---------------------------------------------------------------------------------


def parameters() -> dict[str, Parameter | Reference]:
    """Every parameter by its key."""
    rows = {
        parameter_key(row, own_type): _query_parameter(row, own_type)
        for own_type in (None, *TYPES)
        for row in parameters_of(own_type).values()
    }
    return {**rows, "id": _parameter("id", "path", ID_SCHEMA, **_ID), **_request_headers()}


def _request_headers() -> dict[str, Parameter]:
    zone = {"type": "number", "minimum": -14, "maximum": 14}
    return {
        TZ_OFFSET: _parameter(
            TZ_OFFSET,
            "header",
            zone,
            description="The caller's zone in hours from UTC, such as -4 or 5.5.",
            example=5.5,
        ),
        LAST_EVENT_ID: _parameter(
            LAST_EVENT_ID,
            "header",
            {"type": "string"},
            description="Of a listing that is followed: the id of the last event received.",
            example="AGkjH1qC",
        ),
        "If-None-Match": _parameter(
            "If-None-Match",
            "header",
            {"type": "string"},
            description="The `ETag` of an answer that the client has: a 304 where it is the same.",
            example=EXAMPLE_TAG,
        ),
        "Prefer": _parameter(
            "Prefer",
            "header",
            {"type": "string", "x-extensible-enum": ["handling=strict", "handling=lenient"]},
            description="`handling=strict`: a parameter that does not exist is a 400.",
            example="handling=strict",
        ),
        "Override": _parameter(
            "X-HTTP-Method-Override",
            "header",
            {"type": "string", "const": "GET"},
            required=True,
            description="On a POST with `_params` in its body: it stands for this GET.",
            example="GET",
        ),
    }


def parameter_key(row: ListingParameter, own_type: ActivityType | None) -> str:
    """One-lead rules differ between the listing and own lists, so such rows are shown twice."""
    differs = row.needs_one_lead(None) != row.needs_one_lead(own_type)
    return f"{row.name}.own" if differs else row.name


def _query_parameter(row: ListingParameter, own_type: ActivityType | None) -> Parameter:
    schema = _value_schema(row)
    is_list = schema.get("type") == "array"
    description = row.description.removesuffix(_ONE_LEAD)
    if row.default is not None:
        # Said, and not `default`: generated clients would send it, `_skip` beside `_cursor` too.
        description += f" Default: {row.default}."
    return _parameter(
        row.name,
        "query",
        schema,
        example=row.example.split(",") if is_list else _example(row),
        description=description + (_ONE_LEAD if row.needs_one_lead(own_type) else ""),
        # Where any text is a value, the empty one is no special case.
        allowEmptyValue=not row.is_id_filter and row.form not in _ANY_TEXT,
        **({"style": "form", "explode": False} if is_list else {}),
    )


def _example(row: ListingParameter) -> str | int:
    return int(row.example) if row.form is Form.NUMBER else row.example


def _parameter(name: str, place: str, schema: dict[str, Any], **more: Any) -> Parameter:
    return Parameter.model_validate({"name": name, "in": place, "schema": schema, **more})


def _value_schema(row: ListingParameter) -> dict[str, Any]:
    """What one parameter accepts, by its form."""
    if row.form is Form.NUMBER:
        return {"type": "integer", "minimum": 0, "maximum": row.maximum}
    if row.form is Form.CHOICE:
        return {"$ref": REFERENCE.format(model=_choice_name(row))}
    if row.form is Form.DATETIME:
        return DATETIME_SCHEMA
    if row.form is Form.CURSOR:
        return {"type": "string"}
    schema = {"type": "array", "items": _item_schema(row.form)}
    return schema if row.maximum is None else schema | {"maxItems": row.maximum}


def _item_schema(form: Form) -> dict[str, Any]:
    if form is Form.IDS:
        return ID_SCHEMA
    if form is Form.TYPES:
        names = "|".join(TYPE_NAMES)
        custom = f"{CUSTOM_TYPE_PREFIX}[A-Za-z0-9_.:@-]{{1,119}}"
        pattern = f"^(?:{names}|{custom})$"
        return {"type": "string", "pattern": pattern, "x-extensible-enum": list(TYPE_NAMES)}
    return {"type": "string"}


def _body_schema(row: ListingParameter) -> dict[str, Any]:
    """In a body a text stands for itself, as in a query string, and null for absent."""
    text = {"type": "string"}
    value = [] if row.form is Form.CURSOR else [_value_schema(row)]
    return {"anyOf": [*value, text, {"type": "null"}]}


# --- what a POST that stands for a GET sends ----------------------------------------------------


def params_body() -> RequestBody:
    params = {"$ref": REFERENCE.format(model="Params")}
    return RequestBody(
        description="Of a POST that stands for a GET: its parameters, which win over the query"
        " string. A list stands for a comma list, null for absent.",
        content={"application/json": MediaType(schema=Schema(properties={"_params": params}))},
    )


def _params(rows: Iterable[ListingParameter]) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "properties": {row.name: _body_schema(row) for row in rows},
        "additionalProperties": {
            "type": ["string", "number", "boolean", "array", "null"],
            "items": {"type": ["string", "number", "boolean"]},
        },
    }


# --- headers and errors -------------------------------------------------------------------------


def headers() -> dict[str, Header | Reference]:
    texts = {
        "X-Request-Id": "Of this request: the client's own where it sent one.",
        "RateLimit": "As in `limit=60, remaining=59, reset=1`; absent where there is no limit.",
        "Link": 'The next page, `</api/v1/activity/?_cursor=...>; rel="next"`.',
        "ETag": "Of the body, weak: with it as `If-None-Match` the same answer is a 304.",
        "Cache-Control": "`private, no-cache`: kept by the client alone, and asked for again.",
        "Preference-Applied": "`handling=strict` where the request preferred that.",
        "Retry-After": "Whole seconds.",
        "RateLimit-Reset": "Whole seconds until the key has its requests again.",
        "X-Rate-Limit-Limit": "Requests of a window.",
        "X-Rate-Limit-Remaining": "Requests left of it.",
        "X-Rate-Limit-Reset": "As `RateLimit-Reset`.",
        "WWW-Authenticate": "Basic and Bearer.",
        "Allow": "GET, HEAD",
    }
    return {
        name: Header(description=text, param_schema=Schema(type="string"))
        for name, text in texts.items()
    }


def responses() -> dict[str, Response | Reference]:
    """304, and every error by its status."""
    same = Response(
        description="Not Modified: the answer is the one that the client has.",
        headers=shown("X-Request-Id", "RateLimit", *VALIDATORS, "Link"),
    )
    return {"304": same, **{status: _error(status, body) for status, body in example_errors()}}


def _error(status: str, body: dict[str, Any]) -> Response:
    names = ["X-Request-Id", *_FAILURE_HEADERS.get(int(status), ())]
    if int(status) not in _BEFORE_THE_KEY:
        names.append("RateLimit")
    if int(status) in LATER_STATUSES:
        names.append("Retry-After")
    content = MediaType(
        schema=reference("schemas", "ErrorBody"),
        examples={"error": Example(summary=phrase(int(status)), value=body)},
    )
    return Response(
        description=_ERRORS[int(status)],
        headers=shown(*names),
        content={"application/json": content},
    )


# --- schemas ------------------------------------------------------------------------------------


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its name."""
    pages = {page_name(row): _page(*rows_of(row)) for row in TYPES}
    return {
        **activity_schemas(),
        page_name(None): _page(ANY_TYPE),
        **pages,
        **{_choice_name(row): _choice(row) for row in PARAMETERS if row.form is Form.CHOICE},
        "Params": _params(PARAMETERS),
        "Me": _ME,
        "Organization": _ORGANIZATION,
        "ErrorBody": _ERROR,
        "Wait": _WAIT,
    }


def _choice_name(row: ListingParameter) -> str:
    """`_order_by` is an `OrderBy`."""
    return "".join(word.capitalize() for word in row.name.split("_"))


def _choice(row: ListingParameter) -> dict[str, Any]:
    """One enumeration for all operations, its members named as code can name them."""
    names = [
        f"{choice.removeprefix('-').upper()}{'_DESCENDING' if choice.startswith('-') else ''}"
        for choice in row.choices
    ]
    return {
        "type": "string",
        "description": row.description,
        "enum": list(row.choices),
        "x-enum-varnames": names,
    }


def page_name(own_type: ActivityType | None) -> str:
    return f"{own_type.name if own_type else ANY_TYPE}Page"


def rows_of(own_type: ActivityType) -> tuple[str, ...]:
    """What rows of an own list may be (contract 3.3)."""
    return (EMAIL, EMAIL_THREAD) if own_type.name == EMAIL else (own_type.name,)


def _page(*rows: str) -> dict[str, Any]:
    row = one_of(*rows) if len(rows) > 1 else {"$ref": REFERENCE.format(model=rows[0])}
    return {
        "type": "object",
        "description": f"Rows in their order. {_PARTIAL}",
        "required": ["has_more", "data"],
        "additionalProperties": False,
        "properties": {
            "has_more": {
                "type": "boolean",
                "description": "Whether there are more: the `Link` header leads to them.",
            },
            "data": {
                "type": "array",
                "description": "The rows.",
                "maxItems": MAX_LIMIT,
                "items": row,
            },
        },
        "x-partial-with": "_fields",
    }


_PARTIAL = "With `_fields` a row has only the keys asked for, `_type` too only if asked for."
_ORGANIZATION: dict[str, Any] = {
    "type": "object",
    "description": "Whom a key opens.",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "string", "description": "Its id."},
        "name": {"type": "string", "description": "Its id again: no other name is known."},
    },
}
_ME: dict[str, Any] = {
    "type": "object",
    "description": "The caller, which is its key.",
    "required": ["id", "name", "organizations"],
    "properties": {
        "id": {"type": "string", "description": "The id of the key."},
        "name": {"type": "string", "description": "The name that the key was given."},
        "organizations": {
            "type": "array",
            "description": "Always one.",
            "minItems": 1,
            "maxItems": 1,
            "items": {"$ref": REFERENCE.format(model="Organization")},
        },
    },
    "examples": [example_me()],
}
_SECONDS: dict[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "description": "Seconds until asking again makes sense, as `Retry-After`.",
}
_WAIT: dict[str, Any] = {
    "type": "object",
    "description": "What `error` is on 429, 503 and 504: it passes.",
    "required": ["message", "rate_reset"],
    "properties": {
        "message": {"type": "string", "description": "What was wrong."},
        "rate_reset": _SECONDS,
        "rate_limit": {"type": "integer", "description": "Requests of a window, on a 429."},
        "rate_window": {"type": "integer", "description": "Seconds of a window, on a 429."},
        "rate_limit_type": {"type": "string", "description": "`key`, on a 429."},
    },
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "Why a request was not answered. `error` is a text, and an object where asking"
    " again later helps (429, 503, 504).",
    "required": ["error", "errors", "field-errors"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "description": "What was wrong.",
            "anyOf": [{"type": "string"}, {"$ref": REFERENCE.format(model="Wait")}],
        },
        "errors": {
            "type": "array",
            "description": "What was wrong with no parameter in particular.",
            "items": {"type": "string"},
        },
        "field-errors": {
            "type": "object",
            "description": "What was wrong, by parameter.",
            "additionalProperties": {"type": "string"},
        },
        "rate_reset": _SECONDS,
    },
    "examples": [body for _, body in example_errors()],
}


def shown(*names: str) -> dict[str, Header | Reference]:
    """These headers."""
    return {name: reference("headers", name) for name in names}


def reference(kind: str, name: str) -> Reference:
    return Reference(**{"$ref": f"#/components/{kind}/{name}"})
