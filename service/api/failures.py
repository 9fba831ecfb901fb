"""From what went wrong to what the client reads (contract 3.6): one table, nothing internal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from service.api.answers import Answer, to_answer
from service.api.authentication import CHALLENGE
from service.api.rate_limits import Exceeded
from service.errors import (
    InvalidRequest,
    MethodNotAllowed,
    Overloaded,
    RequestError,
    StoreTimeout,
    StoreUnavailable,
    TooSlow,
    Unauthorized,
)

ALLOWED_METHODS = "GET, HEAD"
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """One row: how an exception shows. An empty `text` stands for the exception's own, which is
    meant for clients in a `RequestError` and in no other."""

    status: int
    text: str = ""
    retry_after_seconds: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


FAILURES: dict[type[Exception], Failure] = {
    Unauthorized: Failure(401, headers={"WWW-Authenticate": CHALLENGE}),
    MethodNotAllowed: Failure(405, headers={"Allow": ALLOWED_METHODS}),
    StoreUnavailable: Failure(
        503, "The activities cannot be reached now. Please ask again later.", 5
    ),
    StoreTimeout: Failure(504, "The query ran past its time limit. Please ask again later.", 5),
    TooSlow: Failure(504, retry_after_seconds=5),
    Exception: Failure(500, "Something went wrong on our side. It has been recorded."),
}


def to_failure(error: Exception) -> Failure:
    """The row of the nearest ancestor; a `RequestError` without one brings its own status."""
    for ancestor in type(error).__mro__:
        if ancestor is RequestError and isinstance(error, RequestError):
            return Failure(error.status)
        if ancestor in FAILURES:
            return FAILURES[ancestor]
    raise TypeError(f"{type(error).__name__} is no failure")


def to_error_answer(error: Exception) -> Answer:
    """The answer to a request that ended in `error`."""
    if isinstance(error, Exceeded):
        return _to_refusal(error)
    failure = to_failure(error)
    text = printable(failure.text or str(error))
    seconds = failure.retry_after_seconds
    if isinstance(error, Overloaded):
        seconds = error.retry_after_seconds
    if seconds is not None:
        return _to_later(text, failure.status, seconds, {}, failure.headers)
    fields = error.field_errors if isinstance(error, InvalidRequest) else {}
    return error_answer(failure.status, text, fields, failure.headers)


def error_answer(
    status: int,
    text: str,
    fields: Mapping[str, str] = MappingProxyType({}),
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """A failure that asking again does not mend; `fields` are texts by parameter."""
    content = {
        "error": text,
        "errors": [] if fields else [text],
        "field-errors": {printable(name): printable(said) for name, said in fields.items()},
    }
    return to_answer(content, status, **headers)


def _to_refusal(error: Exceeded) -> Answer:
    allowance = error.allowance
    rate = {
        "rate_limit": allowance.limit,
        "rate_window": allowance.window_seconds,
        "rate_limit_type": error.limit_type,
    }
    return _to_later(
        error.message, error.status, allowance.reset_seconds, rate, allowance.refusal_headers()
    )


def _to_later(
    text: str, status: int, seconds: int, details: dict[str, Any], headers: dict[str, str]
) -> Answer:
    """A failure that passes: its `error` is an object, for sync clients look for times in it."""
    content = {
        "error": {"message": text, "rate_reset": seconds, **details},
        "errors": [text],
        "field-errors": {},
        "rate_reset": seconds,
    }
    return to_answer(content, status, **headers, **{"Retry-After": str(seconds)})


def printable(text: str) -> str:
    """Texts repeat what the client sent: bytes that were no UTF-8 among it, and at any length."""
    cut = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
    return cut.encode(errors="replace").decode()


def phrase(status: int) -> str:
    """What HTTP itself says of a status."""
    return HTTPStatus(status).phrase
