"""The OpenAPI document, built from what the service itself runs on: the table of types and its
models, the table of parameters, the table of failures (contract 3.1)."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import orjson
from openapi_pydantic import (
    Components,
    Contact,
    Example,
    Info,
    Link,
    MediaType,
    OpenAPI,
    Operation,
    PathItem,
    Response,
    Schema,
    SecurityScheme,
    Server,
    Tag,
)

from service.activities.types import EMAIL_THREAD, TYPES, ActivityType
from service.api.components import (
    ANY_TYPE,
    ERROR_STATUSES,
    LAST_EVENT_ID,
    LATER_STATUSES,
    REQUEST_HEADERS,
    VALIDATORS,
    headers,
    page_name,
    parameter_key,
    parameters,
    params_body,
    reference,
    responses,
    schemas,
    shown,
)
from service.api.examples import example_me, example_page, example_rows
from service.api.handlers import BASE_PATH, OPENAPI_PATH
from service.api.parameters import MAX_BODY_BYTES
from service.listing.datetimes import TZ_OFFSET
from service.listing.parameters import parameters_of

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

## What types cannot say

Producers' schemas grow without asking, so an activity is answered as it came. Fields named by a
type's `x-always-of-type` are always of their type; any other may now and then hold something else,
and any object may have keys that are not listed here. An `x-extensible-enum` lists the values that
are known. With `_fields` a row has only the keys asked for, `_type` too only if asked for.
"""
FOLLOWING = """Where following is switched on, whoever asks with `Accept: text/event-stream` is answered with
server-sent events (`text/event-stream`), without end: `page` (this
answer as it is now), `set` (a row that is new or has changed), `removed` (`id` and `_type` of one that
is not listed any more) and `live` (all that had happened until the request is told). With
`Last-Event-ID` or `_since` there is no `page`, but what has happened since that event. Lay `set` and
`removed` over the page by whether `_type` is `EmailThread`, and `id`."""
TAGS = {
    "listing": "Pages of activities and threads, newest first: of all types, or of one.",
    "single": "One activity by its id, or one thread with its emails.",
    "about": "Whom a key belongs to, and this document.",
}
# What has no regular plural, or is none.
_PLURALS = {"Activity": "Activities", "CustomActivity": "CustomActivities"}
_AS_THEY_ARE = ("Created", "SMS", "TaskCompleted")
_FIRST_ID = "$response.body#/data/0/id"


@cache
def render_document() -> bytes:
    """The document as JSON, built once."""
    return orjson.dumps(build_document())


def build_document() -> dict[str, Any]:
    document = OpenAPI(
        openapi="3.1.1",
        info=Info(
            title="Activity service",
            version=version("activity-service"),
            description=DESCRIPTION,
            contact=Contact(name="Whoever runs this service"),
        ),
        servers=[Server(url="/", description="Where this document comes from.")],
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        security=[{"basic": []}, {"bearer": []}],
        paths=_paths(),
        components=Components(
            schemas={name: Schema(**schema) for name, schema in schemas().items()},
            parameters=parameters(),
            headers=headers(),
            responses=responses(),
            requestBodies={"Params": params_body()},
            securitySchemes={
                "basic": SecurityScheme(
                    type="http", scheme="basic", description="The key as user, no password."
                ),
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="The key as the token."
                ),
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
    paths[f"{BASE_PATH}/me/"] = PathItem(get=_me())
    paths[OPENAPI_PATH] = PathItem(get=_get_document())
    return paths


def _listing(own_type: ActivityType | None) -> PathItem:
    word = own_type.name if own_type else ANY_TYPE
    rows = parameters_of(own_type).values()
    link = Link(
        operationId=f"get{word}",
        parameters={"id": _FIRST_ID},
        description="The first row by itself.",
    )
    operation = _get(
        f"list{_plural(word)}",
        f"List activities of type {word}" if own_type else "List activities of all types",
        "listing",
        page_name(own_type),
        example_page(own_type.name if own_type else None),
        [*(parameter_key(row, own_type) for row in rows), TZ_OFFSET, LAST_EVENT_ID],
        links={"first": link},
    )
    _add_events(operation)
    return PathItem(get=operation)


def _add_events(operation: Operation) -> None:
    """The same listing, followed (contract 3.7). In words: a second form of the answer would take
    the type of the first from generated clients, and none of them reads events."""
    operation.description = f"{_LISTING}\n\n{FOLLOWING}"
    refusals = {status: reference("responses", status) for status in ("406", "410")}
    operation.responses = {**(operation.responses or {}), **refusals}


_LISTING = (
    "Newest first unless `_order_by` says otherwise. A page that has more carries a `Link` to the"
    " next one, at the same cost at any depth."
)


def _single(own_type: ActivityType | None) -> PathItem:
    word = own_type.name if own_type else ANY_TYPE
    summary = f"Get one activity of type {word}"
    if own_type is None:
        summary = "Get one activity, or the thread with that id"
    operation = _get(
        f"get{word}",
        summary,
        "single",
        word,
        example_rows()[own_type.name if own_type else EMAIL_THREAD],
        ["id", "_fields"],
    )
    operation.description = (
        "A thread comes with its emails, newest first, without their bodies."
        if word in (ANY_TYPE, EMAIL_THREAD)
        else "Whole, but for the fields that are answered only where `_fields` names them."
    )
    return PathItem(get=operation)


def _me() -> Operation:
    operation = _get("getMe", "Get whom the key belongs to", "about", "Me", example_me(), [])
    operation.description = "What clients ask first."
    return operation


def _plural(word: str) -> str:
    return word if word in _AS_THEY_ARE else _PLURALS.get(word, f"{word}s")


def _get(
    operation_id: str,
    summary: str,
    tag: str,
    schema: str,
    example: dict[str, Any],
    names: Sequence[str],
    links: dict[str, Link] | None = None,
) -> Operation:
    statuses = (304, *ERROR_STATUSES, *LATER_STATUSES)
    own_headers = ("Link",) if links else ()
    content = MediaType(
        schema=reference("schemas", schema), examples={"example": Example(value=example)}
    )
    success = Response(
        description="What was asked for.",
        headers=shown("X-Request-Id", "RateLimit", *VALIDATORS, *own_headers),
        content={"application/json": content},
        links=dict(links) if links else None,
    )
    return Operation(
        operationId=operation_id,
        summary=summary,
        tags=[tag],
        parameters=[reference("parameters", name) for name in (*names, *REQUEST_HEADERS)],
        responses={
            "200": success,
            **{str(status): reference("responses", str(status)) for status in statuses},
        },
    )


def _get_document() -> Operation:
    content = {"application/json": MediaType(schema=Schema(type="object"))}
    return Operation(
        operationId="getDocument",
        summary="Get this document",
        description="Without a key, and from pages of every origin.",
        tags=["about"],
        security=[],
        parameters=[reference("parameters", "If-None-Match")],
        responses={
            "200": Response(
                description="The document.",
                headers=shown("X-Request-Id", "ETag", "Cache-Control"),
                content=content,
            ),
            "304": reference("responses", "304"),
            "414": reference("responses", "414"),
        },
    )
