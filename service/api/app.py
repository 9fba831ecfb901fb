"""The HTTP server: aiohttp's low-level one, with one handler for everything (contract 3)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from service.api.authentication import Authentication
from service.api.capacity import Capacity
from service.api.failures import error_answer
from service.api.gate import Gate, common_headers, to_request_id
from service.api.handlers import Handlers
from service.api.openapi import render_document
from service.api.origins import Origins
from service.api.outbox import Outbox
from service.api.pages import Page, read_reference, read_timeline
from service.api.rate_limits import RateLimits
from service.api.readiness import Readiness
from service.errors import StartError
from service.settings import HttpSettings
from service.store.keys import ApiKey, get_key
from service.store.mongo import Mongo

# A hundred ids of 128 characters fit; longer queries go into the body (`_params`).
MAX_REQUEST_LINE_BYTES = 16 * 1024
MAX_HEADER_BYTES = 8 * 1024
MAX_HEADERS = 100
# Idle connections, and such as never finish a request, are closed after this.
KEEPALIVE_SECONDS = 75.0


def build_gate(mongo: Mongo, settings: HttpSettings, readiness: Readiness) -> Gate:
    """The application: everything between a parsed request and its response.

    Raises `StartError` for a rate limit that is none.
    """
    capacity = Capacity(
        max_in_flight=settings.max_requests_in_flight, max_waiting=settings.max_requests_waiting
    )

    async def ask_for_key(key: str) -> ApiKey | None:
        async with capacity:
            return await get_key(mongo, key)

    return Gate(
        routes=Handlers(mongo, settings).routes(),
        openapi=render_document(),
        pages=_read_pages(settings),
        authentication=Authentication(ask_for_key, max_age_seconds=settings.key_cache_seconds),
        rate_limits=RateLimits(settings.rate_limit),
        origins=Origins(settings.cors_origins),
        capacity=capacity,
        outbox=Outbox(settings.max_page_bytes * settings.max_requests_in_flight),
        readiness=readiness,
    )


def _read_pages(settings: HttpSettings) -> list[Page]:
    timeline = [read_timeline()] if settings.timeline_page else []
    return [*timeline, *([read_reference()] if settings.docs_page else [])]


@asynccontextmanager
async def listening(gate: Gate, settings: HttpSettings) -> AsyncIterator[int]:
    """Answer on the public port, which is yielded.

    On leaving, no new connection is taken, what is being answered has half of `shutdown_seconds`
    to finish, and the rest is cancelled. Raises `StartError` where the port cannot be had.
    """
    server = Server(
        gate.handle,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=MAX_REQUEST_LINE_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
    )
    # aiohttp waits so long twice: for the end, and for what it has cancelled.
    runner = web.ServerRunner(server, shutdown_timeout=settings.shutdown_seconds / 2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.http_host, settings.http_port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no host has such a name"
            raise StartError(
                f"ACTIVITY_HTTP_HOST, ACTIVITY_HTTP_PORT: cannot listen on {settings.http_host!r},"
                f" port {settings.http_port}: {reason}"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Protocol(web.RequestHandler):
    """One connection. What aiohttp cannot parse is answered in the shape of contract 3.6."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 aiohttp's signature; its text quotes raw bytes
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc)
        answer = error_answer(*_to_fault(exc))
        headers = common_headers(to_request_id(None))
        response = web.Response(body=answer.body, status=answer.status, headers=headers)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **facts: Any) -> None:
        """A body that cannot be decoded is its client's fault, and has been answered."""
        if not isinstance(facts.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **facts)


class Server(web.Server):
    """Makes one `Protocol` a connection."""

    def __call__(self) -> Protocol:
        return Protocol(self, loop=self._loop, **self._kwargs)


def _to_fault(error: BaseException | None) -> tuple[int, str]:
    if not isinstance(error, LineTooLong):
        return 400, "This is no HTTP request that can be understood."
    if error.args[1] == MAX_REQUEST_LINE_BYTES:
        return 414, (
            f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes: send the parameters"
            ' in a POST with x-http-method-override: GET and a body {"_params": {...}}.'
        )
    return 400, f"A header is longer than {MAX_HEADER_BYTES} bytes."
