"""The OpenAPI document, built from what the service itself runs on: the table of types and its
models, the table of parameters, the table of failures (contract 3.1)."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import orjson
from openapi_pydantic import (
    Components,
    Header,
    Info,
    Link,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Response,
    Schema,
    SecurityScheme,
    Tag,
)

from service.activities.base import ID_PATTERN
from service.activities.types import EMAIL, EMAIL_THREAD, TYPES, ActivityType
from service.api.failures import phrase
from service.api.handlers import BASE_PATH, OPENAPI_PATH
from service.api.parameters import MAX_BODY_BYTES
from service.api.schemas import REFERENCE, activity_schemas
from service.listing.datetimes import TZ_OFFSET
from service.listing.parameters import (
    CUSTOM_TYPE_PREFIX,
    PARAMETERS,
    TYPE_NAMES,
    Form,
    parameters_of,
)
from service.listing.parameters import Parameter as ListingParameter

DESCRIPTION = f"""A lead's timeline: activities and email threads, newest first.

Every path answers with and without its final slash, and to HEAD as to GET. Writing happens through
Kafka only: OPTIONS is a 204 without a key, any other method a 405 with `Allow: GET, HEAD`. A `POST` with
`x-http-method-override: GET` and a body `{{"_params": {{...}}}}` of at most {MAX_BODY_BYTES} bytes
is exactly that GET, on every path (components: requestBodies/Params).

A repeated parameter, a comma list, `name[]` and `name[0]` mean the same. An empty value counts as
absent, but a filter by ids that names none is a 400. Unknown parameters are ignored; with
`Prefer: handling=strict` they are a 400 that tells the nearest that exist. An answer carries an
`ETag`: with it as `If-None-Match` the same answer is a 304 without body. "Exactly one lead": the distinct ids that satisfy both `lead_id` and
`lead_id__in` are one. What cannot be honoured is a 400 that names its parameter.
"""
ID_SCHEMA: dict[str, Any] = {"type": "string", "pattern": ID_PATTERN}
DATETIME_SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": f"Without an offset: in the zone of {TZ_OFFSET}, else UTC.",
    "anyOf": [{"format": "date-time"}, {"format": "date"}],
}
_FIRST_ID = "$response.body#/data/0/id"
_ONE_LEAD = " Needs exactly one lead."
_ANY_TEXT = (Form.FIELDS, Form.TEXTS, Form.CURSOR)
ERROR_STATUSES = (400, 401, 404, 413, 414)
LATER_STATUSES = (429, 503, 504)
# Answered before it is known whose the request is, and so what is left of its rate.
_BEFORE_THE_KEY = (401, 414)
_VALIDATORS = ("ETag", "Cache-Control", "Preference-Applied")
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


@cache
def render_document() -> bytes:
    """The document as JSON, built once."""
    return orjson.dumps(build_document())


def build_document() -> dict[str, Any]:
    document = OpenAPI(
        openapi="3.1.1",
        info=Info(
            title="Activity service", version=version("activity-service"), description=DESCRIPTION
        ),
        tags=[Tag(name="listing"), Tag(name="single"), Tag(name="about")],
        security=[{"basic": []}, {"bearer": []}],
        paths=_paths(),
        components=Components(
            schemas={name: Schema(**schema) for name, schema in _schemas().items()},
            parameters=_parameters(),
            headers=_headers(),
            responses=_failures(),
            requestBodies={"Params": _params_body()},
            securitySchemes={
                "basic": SecurityScheme(
                    type="http", scheme="basic", description="The key as user, no password."
                ),
                "bearer": SecurityScheme(type="http", scheme="bearer"),
            },
        ),
    )
    content: dict[str, Any] = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    return content


def _paths() -> dict[str, PathItem]:
    activities = f"{BASE_PATH}/activity/"
    paths = {activities: _listing(None), f"{activities}{{id}}/": _single(None)}
    for own_type in TYPES:
        paths[f"{activities}{own_type.path}/"] = _listing(own_type)
        paths[f"{activities}{own_type.path}/{{id}}/"] = _single(own_type)
    paths[f"{BASE_PATH}/me/"] = PathItem(get=_get("Who the key belongs to.", "about", "Me", []))
    paths[OPENAPI_PATH] = PathItem(get=_get_document())
    return paths


def _listing(own_type: ActivityType | None) -> PathItem:
    title = f"Activities of type {own_type.name}." if own_type else "Activities of all types."
    rows = parameters_of(own_type).values()
    names = [*(_key(row, own_type) for row in rows), TZ_OFFSET]
    schema = f"{own_type.name}Page" if own_type else "Page"
    get = _get(title, "listing", schema, names, headers=("Link",))
    get.operationId = f"list{_word(own_type)}"
    first = Link(operationId=f"get{_word(own_type)}", parameters={"id": _FIRST_ID})
    _success(get).links = {"first": first}
    return PathItem(get=get)


def _single(own_type: ActivityType | None) -> PathItem:
    title = "One activity, or the thread with that id and its emails."
    if own_type is not None:
        title = f"One activity of type {own_type.name}."
    schema = f"{own_type.name}Row" if own_type else "Row"
    get = _get(title, "single", schema, ["id", "_fields"])
    get.operationId = f"get{_word(own_type)}"
    return PathItem(get=get)


def _word(own_type: ActivityType | None) -> str:
    return own_type.name if own_type else "Activity"


def _success(operation: Operation) -> Response:
    response = (operation.responses or {})["200"]
    assert isinstance(response, Response)  # noqa: S101 for the type checker: `_get` made it
    return response


def _get(
    title: str,
    tag: str,
    schema: str,
    parameters: Sequence[str],
    headers: Sequence[str] = (),
) -> Operation:
    shown = _shown("X-Request-Id", "RateLimit", *_VALIDATORS, *headers)
    content = {"application/json": MediaType(schema=_reference("schemas", schema))}
    failures = {
        str(status): _reference("responses", str(status))
        for status in (*ERROR_STATUSES, *LATER_STATUSES)
    }
    return Operation(
        summary=title,
        tags=[tag],
        parameters=[_reference("parameters", name) for name in parameters],
        responses={
            "200": Response(description=phrase(200), headers=shown, content=content),
            "304": _reference("responses", "304"),
            **failures,
        },
    )


def _get_document() -> Operation:
    content = {"application/json": MediaType(schema=Schema(type="object"))}
    return Operation(
        summary="This document.",
        tags=["about"],
        security=[],
        responses={
            "200": Response(
                description=phrase(200),
                headers=_shown("X-Request-Id", *_VALIDATORS),
                content=content,
            ),
            "304": _reference("responses", "304"),
            "414": _reference("responses", "414"),
        },
    )


def _params_body() -> RequestBody:
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


def _parameters() -> dict[str, Parameter | Reference]:
    rows = {
        _key(row, own_type): _query_parameter(row, own_type)
        for own_type in (None, *TYPES)
        for row in parameters_of(own_type).values()
    }
    return {
        **rows,
        "id": _parameter("id", "path", ID_SCHEMA, required=True),
        TZ_OFFSET: _parameter(
            TZ_OFFSET,
            "header",
            {"type": "number", "minimum": -14, "maximum": 14},
            description="The caller's zone in hours from UTC, such as -4 or 5.5.",
        ),
        "Override": _parameter("X-HTTP-Method-Override", "header", {"const": "GET"}, required=True),
    }


def _key(row: ListingParameter, own_type: ActivityType | None) -> str:
    """One-lead rules differ between the listing and own lists, so such rows are shown twice."""
    differs = row.needs_one_lead(None) != row.needs_one_lead(own_type)
    return f"{row.name}.own" if differs else row.name


def _query_parameter(row: ListingParameter, own_type: ActivityType | None) -> Parameter:
    schema = _query_schema(row)
    is_list = schema["type"] == "array"
    description = row.description.removesuffix(_ONE_LEAD)
    return _parameter(
        row.name,
        "query",
        schema,
        description=description + (_ONE_LEAD if row.needs_one_lead(own_type) else ""),
        # Where any text is a value, the empty one is no special case.
        allowEmptyValue=not row.is_id_filter and row.form not in _ANY_TEXT,
        **({"style": "form", "explode": False} if is_list else {}),
    )


def _parameter(name: str, place: str, schema: dict[str, Any], **more: Any) -> Parameter:
    return Parameter.model_validate({"name": name, "in": place, "schema": schema, **more})


def _query_schema(row: ListingParameter) -> dict[str, Any]:
    schema = _value_schema(row)
    return schema if row.default is None else schema | {"default": row.default}


def _value_schema(row: ListingParameter) -> dict[str, Any]:
    """What one parameter accepts, by its form."""
    if row.form is Form.NUMBER:
        return {"type": "integer", "minimum": 0, "maximum": row.maximum}
    if row.form is Form.CHOICE:
        return {"type": "string", "enum": list(row.choices)}
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
        custom = {"type": "string", "pattern": f"^{CUSTOM_TYPE_PREFIX}[A-Za-z0-9_.:@-]{{1,119}}$"}
        return {"anyOf": [{"enum": list(TYPE_NAMES)}, custom]}
    return {"type": "string"}


def _body_schema(row: ListingParameter) -> dict[str, Any]:
    """In a body a text stands for itself, as in a query string, and null for absent."""
    return {"anyOf": [_value_schema(row), {"type": "string"}, {"type": "null"}]}


def _headers() -> dict[str, Header | Reference]:
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


def _failures() -> dict[str, Response | Reference]:
    statuses = (*ERROR_STATUSES, 405, *LATER_STATUSES)
    same = Response(description=phrase(304), headers=_shown("X-Request-Id", *_VALIDATORS))
    return {"304": same, **{str(status): _failure(status) for status in statuses}}


def _failure(status: int) -> Response:
    headers = ["X-Request-Id", *_FAILURE_HEADERS.get(status, ())]
    if status not in _BEFORE_THE_KEY:
        headers.append("RateLimit")
    passes = status in LATER_STATUSES
    if passes:
        headers.append("Retry-After")
    schema = "Later" if passes else "Error"
    return Response(
        description=phrase(status),
        headers=_shown(*headers),
        content={"application/json": MediaType(schema=_reference("schemas", schema))},
    )


def _schemas() -> dict[str, dict[str, Any]]:
    names = [own_type.name for own_type in TYPES]
    rows = {name: _one_of(name, *_also_shown(name)) for name in names}
    pages = {f"{name}Page": _page(f"{name}Row") for name in names}
    return {
        **activity_schemas(),
        **{f"{name}Row": row for name, row in rows.items()},
        "Row": _one_of(*names, "StrippedEmail", "ChosenFields"),
        **pages,
        "Page": _page("Row"),
        "Params": _params(PARAMETERS),
        "Me": _ME,
        "Error": _error({"type": "string"}),
        "Later": _error(_LATER, rate_reset=_SECONDS),
    }


def _also_shown(type_name: str) -> tuple[str, ...]:
    """What else rows of an own list may look like (contract 3.3)."""
    emails = ("StrippedEmail", EMAIL_THREAD) if type_name == EMAIL else ()
    return (*emails, "ChosenFields")


def _one_of(*names: str) -> dict[str, Any]:
    return {"anyOf": [{"$ref": REFERENCE.format(model=name)} for name in names]}


def _page(row: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["has_more", "data"],
        "additionalProperties": False,
        "properties": {
            "has_more": {"type": "boolean"},
            "data": {
                "type": "array",
                "maxItems": 100,
                "items": {"$ref": REFERENCE.format(model=row)},
            },
        },
    }


_NAMED: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
}
_ME: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name", "organizations"],
    "properties": {
        **_NAMED["properties"],
        "organizations": {"type": "array", "minItems": 1, "maxItems": 1, "items": _NAMED},
    },
}
_SECONDS: dict[str, Any] = {"type": "integer", "minimum": 1, "description": "Seconds."}
_LATER: dict[str, Any] = {
    "type": "object",
    "required": ["message", "rate_reset"],
    "properties": {
        "message": {"type": "string"},
        "rate_reset": _SECONDS,
        "rate_limit": {"type": "integer", "description": "Of a 429."},
        "rate_window": {"type": "integer", "description": "Seconds, of a 429."},
        "rate_limit_type": {"const": "key", "description": "Of a 429."},
    },
}


def _error(error: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    properties = {
        "error": error,
        "errors": {"type": "array", "items": {"type": "string"}},
        "field-errors": {"type": "object", "additionalProperties": {"type": "string"}},
        **more,
    }
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _shown(*headers: str) -> dict[str, Header | Reference]:
    return {name: _reference("headers", name) for name in headers}


def _reference(kind: str, name: str) -> Reference:
    return Reference(**{"$ref": f"#/components/{kind}/{name}"})
