"""Server-sent events (WHATWG HTML, "Server-sent events"): what is asked for, and how it is written."""

import random

from aiohttp import web

MEDIA_TYPE = "text/event-stream"
_JSON = "application/json"
# A client that lost its connection comes again after a time between these, so that not all of a
# process's followers come at once.
MIN_RETRY_MILLISECONDS = 500
MAX_RETRY_MILLISECONDS = 4000


def asks_for_events(request: web.BaseRequest) -> bool:
    """Whether the client would rather have events than JSON. `*/*` asks for no events."""
    accept = request.headers.get("Accept", "")
    if MEDIA_TYPE not in accept.lower() or request.method == "HEAD":
        return False
    weights = dict(_parse_weight(part) for part in accept.lower().split(","))
    return weights.get(MEDIA_TYPE, 0.0) > weights.get(_JSON, 0.0)


def to_event(name: bytes, id_: bytes, data: bytes) -> bytes:
    """`data` is JSON, which has no line breaks of its own."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name, id_, data)


def to_keep_alive(id_: bytes) -> bytes:
    """A comment; and how far the client has come, though nothing has happened to what it follows."""
    return b":\nid: %b\n\n" % id_


def to_retry() -> bytes:
    milliseconds = random.randint(MIN_RETRY_MILLISECONDS, MAX_RETRY_MILLISECONDS)  # noqa: S311 no secret
    return b"retry: %d\n\n" % milliseconds


def _parse_weight(part: str) -> tuple[str, float]:
    name, _, parameters = part.partition(";")
    for parameter in parameters.split(";"):
        key, _, text = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name.strip(), float(text)
            except ValueError:
                return name.strip(), 0.0
    return name.strip(), 1.0
