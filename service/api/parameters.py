"""What a request asks for: the query string's pairs, and `_params` laid over them (contract 3.1)."""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic_core import from_json

from service.errors import BodyTooLarge, InvalidRequest, UnknownCoding
from service.listing.parameters import to_stem

MAX_BODY_BYTES = 64 * 1024
_BODY = "_params"
_MAX_BODY_SECONDS = 10.0
# What aiohttp takes off by itself.
_CODINGS = ("identity", "gzip", "deflate")
CODINGS_TAKEN = ", ".join(_CODINGS)
PAGING = _CURSOR, _SKIP = "_cursor", "_skip"

Pairs = list[tuple[str, str]]


def overrides_method(request: web.BaseRequest) -> bool:
    """A POST that is exactly that GET."""
    return (
        request.method == "POST"
        and request.headers.get("X-HTTP-Method-Override", "").strip().upper() == "GET"
    )


def read_query(request: web.BaseRequest) -> Pairs:
    """The pairs of the query string. Bytes that are no UTF-8 stay apart from any text, as
    surrogates, so that they can be refused."""
    query = request.rel_url.raw_query_string
    return parse_qsl(query, keep_blank_values=True, errors="surrogateescape")


async def read_parameters(request: web.BaseRequest, query: Pairs) -> Pairs:
    """The pairs of the query string, with those of a `_params` body laid over them.

    Raises `InvalidRequest` and `BodyTooLarge`. The body of a plain GET is not looked at.
    """
    if not overrides_method(request):
        return query
    return merge(query, parse_body(await _read_body(request)))


def parse_body(body: bytes) -> dict[str, str | None]:
    """The `_params` of a body, as the texts that a query string would hold; None = absent."""
    try:
        # Keeps whole numbers exact, of any size: they may be ids.
        content = from_json(body, allow_inf_nan=False) if body.strip() else {}
    except ValueError:
        raise InvalidRequest("The body must be JSON.", parameter=_BODY) from None
    params = content.get(_BODY) if isinstance(content, dict) else content
    if params is None:
        return {}
    if not isinstance(params, dict) or not isinstance(content, dict):
        raise InvalidRequest('The body must be {"_params": {...}}.', parameter=_BODY)
    return {name: _to_text(name, value) for name, value in params.items()}


def merge(query: Pairs, params: dict[str, str | None]) -> Pairs:
    """`_params` wins, but for paging: a `Link` is followed by sending the same body again."""
    if any(name == _CURSOR and value for name, value in query):
        params = {name: value for name, value in params.items() if name not in PAGING}
    overridden = {to_stem(name) for name in params}
    kept = [(name, value) for name, value in query if to_stem(name) not in overridden]
    return kept + [(name, value) for name, value in params.items() if value is not None]


def to_query_string(pairs: Iterable[tuple[str, str]], cursor: str) -> str:
    """The query string of the page behind `cursor` (contract 3.4), which needs no quoting."""
    kept = [(name, value) for name, value in pairs if name not in PAGING]
    text = urlencode(kept, safe=":@,", errors="surrogateescape")
    return f"{text}&{_CURSOR}={cursor}" if text else f"{_CURSOR}={cursor}"


def _to_text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        return ",".join(_to_scalar(name, part) for part in value)
    return _to_scalar(name, value)


def _to_scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidRequest(
        f"{name} must be a text, a number, a boolean, a list of these, or null.", parameter=name
    )


async def _read_body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in _CODINGS:
        raise UnknownCoding(f"Content-Encoding: {CODINGS_TAKEN} are accepted.")
    # Who speaks HTTP/1.0 takes it for the answer (RFC 9110, 10.1.1).
    is_awaited = request.headers.get("Expect", "").lower() == "100-continue"
    if is_awaited and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        async with asyncio.timeout(_MAX_BODY_SECONDS):
            return await _read_capped(request)
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time.", parameter=_BODY) from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise InvalidRequest("The body broke off, or cannot be decoded.", parameter=_BODY) from None


async def _read_capped(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.")
