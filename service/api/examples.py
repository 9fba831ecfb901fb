"""What the document shows: the example events, as the API answers them."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import orjson

from service.activities.events import Change, parse_event
from service.activities.examples import conversation, encode, example_event
from service.activities.threads import to_thread
from service.activities.types import EMAIL_THREAD, TYPES

Row = dict[str, Any]
Example = dict[str, Any]

_PAGE_TYPES = ("Call", "Note", "Email")
_REQUEST_TEXTS = {
    "400": "user_id: it needs exactly one lead_id.",
    "401": "The API key is not known.",
    "404": "There is no such activity.",
    "405": "Only GET, HEAD are allowed here: writing happens through Kafka.",
    "406": "Following is switched off here, so there are no events: ask for application/json.",
    "410": "Last-Event-ID: what has happened since is not kept any more. Begin anew, without it.",
    "413": "The body is larger than 65536 bytes.",
    "414": "The request line is longer than 16384 bytes.",
}
_LATER_TEXTS = {
    "429": "API call count exceeded for this period",
    "503": "The service is over capacity. Please ask again later.",
    "504": "The query ran past its time limit.",
}
_RATE = {"rate_limit": 60, "rate_window": 1, "rate_limit_type": "key"}


@cache
def example_rows() -> Mapping[str, Row]:
    """A row of each type, by its name."""
    rows = {
        row.name: _answered(_activity(example_event(row.name)))
        for row in TYPES
        if row.name != EMAIL_THREAD
    }
    return rows | {EMAIL_THREAD: _answered(_thread())}


def example_page(type_name: str | None) -> Row:
    """A page of one type, or of several (None)."""
    names = (type_name,) if type_name else _PAGE_TYPES
    rows = [example_rows()[name] for name in names]
    rows.sort(key=lambda row: str(row["date_created"]), reverse=True)
    return {"has_more": type_name is None, "data": rows}


def example_me() -> Row:
    organization = {"id": "orga_demo", "name": "orga_demo"}
    return {"id": "key_3f6c", "name": "a script", "organizations": [organization]}


def example_errors() -> Iterator[tuple[str, Row]]:
    """Status and body of each error."""
    for status, text in _REQUEST_TEXTS.items():
        fields = {text.partition(":")[0]: text} if status == "400" else {}
        yield status, {"error": text, "errors": [] if fields else [text], "field-errors": fields}
    for status, text in _LATER_TEXTS.items():
        wait = {"message": text, "rate_reset": 1} | (_RATE if status == "429" else {})
        yield status, {"error": wait, "errors": [text], "field-errors": {}, "rate_reset": 1}


def _thread() -> Row:
    """Derived from the conversation, what its own event says laid over it."""
    overlay = _activity(example_event(EMAIL_THREAD))
    return {
        "_type": EMAIL_THREAD,
        **(to_thread(_activity(event) for event in conversation()) or {}),
        **overlay,
    }


def _activity(event: Example) -> Row:
    change = parse_event(encode(event))
    if not isinstance(change, Change) or change.activity is None:
        raise TypeError(f"{event['id']} sets no activity")
    return change.activity


def _answered(activity: Row) -> Row:
    """With its dates as the API prints them."""
    row: Row = orjson.loads(orjson.dumps(activity, option=orjson.OPT_NAIVE_UTC))
    return row
