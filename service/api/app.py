"""The HTTP server: aiohttp's low-level one, with one handler for everything (contract 3)."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any

from aiohttp import HttpVersion, HttpVersion11, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, LineTooLong

from service.api.addresses import Addresses
from service.api.authentication import Authentication
from service.api.capacity import Capacity
from service.api.failures import error_answer
from service.api.followed import Judge
from service.api.following import Following
from service.api.gate import Gate, common_headers, to_request_id
from service.api.handlers import Handlers
from service.api.openapi import render_document
from service.api.origins import Origins
from service.api.outbox import Outbox, OutgoingResponse
from service.api.pages import Page, read_reference, read_timeline
from service.api.parameters import CODINGS_TAKEN
from service.api.rate_limits import RateLimits
from service.api.readiness import Readiness
from service.errors import StartError
from service.listing.event_ids import EventIds
from service.observability import CONNECTIONS_CLOSED, REQUESTS_REFUSED
from service.settings import HttpSettings
from service.store.keys import get_key
from service.store.mongo import Mongo

# A hundred ids of 128 characters fit; longer queries go into the body (`_params`).
MAX_REQUEST_LINE_BYTES = 16 * 1024
MAX_HEADER_BYTES = 8 * 1024
MAX_HEADERS = 100
# Idle connections, and such as never finish a request, are closed after this.
KEEPALIVE_SECONDS = 75.0
_SECONDS_AN_HOUR = 3600
# What this process has open besides its clients' connections: MongoDB's, probes, files.
OTHER_DESCRIPTORS = 128
_TOLD_SECONDS = 60.0
_HTTP_2 = HttpVersion(2, 0)
_HTTP_2_PREFACE = "PRI/Upgrade"
_OTHER_VERSION = "HTTP/1.1 and HTTP/1.0 are spoken here."
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: activity-service\r\nContent-Length: 0\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n"
)

logger = logging.getLogger(__name__)


def build_following(mongo: Mongo, settings: HttpSettings, feed_hours: float) -> Following:
    """What all followers of the process share. It reads nothing while nobody follows."""
    ids = EventIds(settings.cursor_secret.get_secret_value(), feed_hours * _SECONDS_AN_HOUR)
    judge = Judge(mongo, settings.query_max_seconds, settings.max_page_bytes)
    return Following(mongo, ids, judge, max_followers=settings.max_followers)


def build_gate(
    mongo: Mongo, settings: HttpSettings, readiness: Readiness, following: Following
) -> Gate:
    """The application: everything between a parsed request and its response.

    Raises `StartError` for a rate limit that is none.
    """
    outbox = Outbox(settings.max_unsent_bytes)
    capacity = Capacity(
        mongo.max_pool_size,
        max_wait_seconds=settings.queue_max_seconds,
        admits=outbox.admits,
        admits_large=outbox.admits_large,
    )
    outbox.tell_of_room(capacity.look_again)
    return Gate(
        routes=Handlers(mongo, settings, following).routes(),
        openapi=render_document(),
        pages=_read_pages(settings),
        addresses=Addresses(settings.trusted_proxies),
        authentication=Authentication(
            partial(get_key, mongo), capacity.lookups, max_age_seconds=settings.key_cache_seconds
        ),
        rate_limits=RateLimits(settings.rate_limit),
        origins=Origins(settings.cors_origins),
        capacity=capacity,
        outbox=outbox,
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
        max_connections=to_max_connections(settings.max_connections),
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

    __slots__ = ("_server",)

    def __init__(self, server: "Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.leave(self)
        super().connection_lost(exc)

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Any
    ) -> tuple[web.StreamResponse, bool]:
        self._server.is_busy(self)
        if request.version >= _HTTP_2:
            request._version = HttpVersion11  # what the answer is written in
            request_handler = _refuse_version
        try:
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            self._server.is_idle(self)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if isinstance(resp, OutgoingResponse):
                resp.leave()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 aiohttp's signature; its text quotes raw bytes
    ) -> web.StreamResponse:
        if status >= 500:
            return super().handle_error(request, status, exc)
        return _refuse(*_to_fault(exc))

    def log_exception(self, *args: Any, **facts: Any) -> None:
        """A body that cannot be decoded is its client's fault, and has been answered."""
        if not isinstance(facts.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **facts)


class Server(web.Server):
    """Makes one `Protocol` a connection, of which there are at most `max_connections`.

    One more takes the place of the one that has had nothing to do for longest; where all have, it
    is told to come again. A client must expect the end of an idle connection at any time
    (RFC 9112, 9.3.1).
    """

    def __init__(self, handler: Any, *, max_connections: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._max_connections = max_connections
        self._idle: dict[Protocol, None] = {}
        self._told_until = 0.0

    def __call__(self) -> Protocol:
        return Protocol(self, loop=self._loop, **self._kwargs)

    def enter(self, protocol: Protocol) -> None:
        if len(self._connections) > self._max_connections:
            self._make_room(protocol)
        else:
            self.is_idle(protocol)

    def leave(self, protocol: Protocol) -> None:
        self._idle.pop(protocol, None)

    def is_busy(self, protocol: Protocol) -> None:
        self._idle.pop(protocol, None)

    def is_idle(self, protocol: Protocol) -> None:
        if protocol.transport is not None:
            self._idle[protocol] = None

    def _make_room(self, protocol: Protocol) -> None:
        self._tell_full()
        longest = next(iter(self._idle), None)
        if longest is not None:
            CONNECTIONS_CLOSED.labels("idle").inc()
            del self._idle[longest]
            longest.force_close()
            self.is_idle(protocol)
            return
        REQUESTS_REFUSED.labels("connections").inc()
        if protocol.transport is not None:
            protocol.transport.write(_FULL)
        protocol.force_close()

    def _tell_full(self) -> None:
        """Once in a while: nobody else says so, where descriptors run out the event loop drops new
        connections without a word."""
        now = monotonic()
        if now >= self._told_until:
            self._told_until = now + _TOLD_SECONDS
            logger.warning("too many connections", extra={"max_connections": self._max_connections})


def to_max_connections(wanted: int) -> int:
    """As many as there are descriptors for, besides those of MongoDB, logs and probes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    needed = wanted + OTHER_DESCRIPTORS
    if soft != unlimited and soft < needed:
        soft = needed if hard == unlimited else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == unlimited or soft >= needed:
        return wanted
    fewer = max(1, soft - OTHER_DESCRIPTORS)
    logger.warning("too few descriptors", extra={"limit": soft, "max_connections": fewer})
    return fewer


def _to_fault(error: BaseException | None) -> tuple[int, str]:
    if isinstance(error, ContentEncodingError):
        return 415, f"Content-Encoding: {CODINGS_TAKEN} are accepted."
    if isinstance(error, HttpProcessingError) and _HTTP_2_PREFACE in error.message:
        return 505, _OTHER_VERSION
    if not isinstance(error, LineTooLong):
        return 400, "This is no HTTP request that can be understood."
    if error.args[1] == MAX_REQUEST_LINE_BYTES:
        return 414, (
            f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes: send the parameters"
            ' in a POST with x-http-method-override: GET and a body {"_params": {...}}.'
        )
    return 400, f"A header is longer than {MAX_HEADER_BYTES} bytes."


async def _refuse_version(_: web.BaseRequest) -> web.Response:
    return _refuse(505, _OTHER_VERSION)


def _refuse(status: int, text: str) -> web.Response:
    """In the shape of contract 3.6; the connection is closed behind it."""
    answer = error_answer(status, text)
    headers = common_headers(to_request_id(None))
    response = web.Response(body=answer.body, status=answer.status, headers=headers)
    response.force_close()
    return response
