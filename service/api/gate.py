"""The way of every request, outermost first: request id, metrics, errors, key, rate, turn.

They are flat functions, not a tower of wrappers: a request costs microseconds before its find.
"""

import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter

from aiohttp import web

from service.api.addresses import Addresses
from service.api.answers import Answer, Document, encode_body
from service.api.authentication import Authentication
from service.api.capacity import Capacity, Lane
from service.api.event_stream import asks_for_events
from service.api.failures import ALLOWED_METHODS, to_error_answer
from service.api.handlers import OPENAPI_PATH, Call, Routes, Work
from service.api.origins import Origins
from service.api.outbox import LARGE_BYTES, SMALL_BYTES, Outbox, OutgoingResponse, Parcel
from service.api.pages import Page
from service.api.parameters import overrides_method, read_parameters, read_query
from service.api.preferences import is_strict
from service.api.rate_limits import Allowance, Exceeded, RateLimits
from service.api.readiness import Readiness
from service.api.revalidation import revalidate
from service.api.stream import Stream
from service.errors import MethodNotAllowed, StoreError, TooSlow
from service.observability import REQUEST_SECONDS, REQUESTS
from service.store.keys import ApiKey

REQUEST_ID = "X-Request-Id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_READS = frozenset(ALLOWED_METHODS.split(", "))
_METHODS = _READS | {"OPTIONS", "POST"}

logger = logging.getLogger(__name__)

# To look a metric up by its labels takes longer than to count.
_requests = lru_cache(REQUESTS.labels)
_request_seconds = lru_cache(REQUEST_SECONDS.labels)


@dataclass(slots=True)
class Progress:
    """How far a request has come: what its answer, its metrics and its log line need to know."""

    request_id: str
    route: str = "unknown"
    allowance: Allowance | None = None
    is_strict: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it needs no key."""
        return self.route == OPENAPI_PATH


@dataclass(frozen=True, slots=True)
class Packed:
    """An answer as it travels: its body encoded and, where it is a large one, in the outbox."""

    answer: Answer
    body: bytes
    coding: str | None = None
    parcel: Parcel | None = None


class Gate:
    """Lets a request through to its handler, or answers why not. Nothing but a client that hangs
    up (`CancelledError`) leaves it unanswered."""

    def __init__(
        self,
        *,
        routes: Routes,
        openapi: bytes,
        pages: Sequence[Page],
        addresses: Addresses,
        authentication: Authentication,
        rate_limits: RateLimits,
        origins: Origins,
        capacity: Capacity,
        outbox: Outbox,
        readiness: Readiness,
    ) -> None:
        self._routes = routes
        self._openapi = Document(openapi)
        self._addresses = addresses
        self._pages = pages
        self._authentication = authentication
        self._rate_limits = rate_limits
        self._origins = origins
        self._capacity = capacity
        self._outbox = outbox
        self._readiness = readiness

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = perf_counter()
        progress = Progress(to_request_id(request.headers.get(REQUEST_ID)))
        status = "hung up"
        try:
            packed = await self._answer_errors(request, progress)
            status = str(packed.answer.status)
            if packed.answer.stream is not None:
                return await self._stream(request, packed.answer.stream, progress)
            # From here on nothing is awaited until the connection has the response in its hands,
            # so that none can be lost on the way with its bytes still counted.
            response = self._to_response(request, packed, progress)
            if self._readiness.is_draining:
                # A connection that stays open would meet its end between two requests.
                response.force_close()
            return response
        finally:
            method = request.method if request.method in _METHODS else "other"
            _requests(progress.route, method, status).inc()
            _request_seconds(progress.route).observe(perf_counter() - started)

    async def _answer_errors(self, request: web.BaseRequest, progress: Progress) -> Packed:
        try:
            return await self._answer(request, progress)
        except Exception as error:  # noqa: BLE001 the outermost edge: whatever it is, it is answered
            answer = to_error_answer(error)
            _log(error, answer, progress)
            return _plain(answer)

    async def _answer(self, request: web.BaseRequest, progress: Progress) -> Packed:
        path = request.rel_url.path_safe
        if path.removesuffix("/") == OPENAPI_PATH:
            progress.route = OPENAPI_PATH
        if request.method == "OPTIONS":
            return _plain(self._tell_options(request, path, progress))
        if progress.route == OPENAPI_PATH:
            _require_read(request)
            return await self._show_openapi(request)
        for page in self._pages:
            if (file := page.find(path)) is not None:
                progress.route = page.path
                _require_read(request)
                return await _encode(revalidate(file, request.if_none_match), request)
        caller = await self._authentication.authenticate(
            request.headers.get("Authorization"), partial(self._addresses.client_of, request)
        )
        self._take_allowance(caller, progress)
        route, activity_id = self._routes.find(path)
        progress.route = route.path
        _require_read(request)
        progress.is_strict = is_strict(request.headers.getall("Prefer", ()))
        query = read_query(request)
        call = Call(
            caller=caller,
            query=query,
            path=path,
            parameters=await read_parameters(request, query),
            tz_offset=request.headers.get("X-TZ-Offset"),
            id=activity_id,
            is_strict=progress.is_strict,
            since=request.headers.get("Last-Event-ID"),
        )
        self._readiness.require_indexes()
        if route.follow is not None and asks_for_events(request):
            return _plain(await route.follow(call).run())
        work = route.handler(call)
        if not work.asks_store:
            return await self._pack(await work.run(), request, call)
        async with self._lane(work, call).turn(caller.id):
            # Until the body is as it travels: what is made and compressed at once is bounded, too.
            return await self._pack(await work.run(), request, call)

    async def _show_openapi(self, request: web.BaseRequest) -> Packed:
        answer = revalidate(Answer(self._openapi.body), request.if_none_match)
        if not answer.body:
            return _plain(answer)
        accept_encoding = request.headers.get("Accept-Encoding")
        return Packed(answer, *await self._openapi.encode(accept_encoding))

    def _lane(self, work: Work, call: Call) -> Lane:
        if self._outbox.knows_large and self._outbox.is_large(call.caller.id, call.question):
            return self._capacity.large
        return self._capacity.indexed if work.is_indexed else self._capacity.filtered

    async def _pack(self, answer: Answer, request: web.BaseRequest, call: Call) -> Packed:
        """Raises `Overloaded` where too many large answers of this key are not taken."""
        answer = revalidate(answer, request.if_none_match)
        key_id, size = call.caller.id, len(answer.body)
        if size > LARGE_BYTES or self._outbox.knows_large:
            self._outbox.learn(key_id, call.question, size)
        if size <= SMALL_BYTES and _has_sent_all(request):
            return await _encode(answer, request)
        parcel = self._outbox.take(key_id, size)
        try:
            packed = await _encode(answer, request, parcel)
        except BaseException:
            parcel.leave()
            raise
        parcel.resize(len(packed.body))
        return packed

    def _tell_options(self, request: web.BaseRequest, path: str, progress: Progress) -> Answer:
        """What is allowed, told without a key. A preflight is answered whatever the path: behind
        one that fails, a browser shows a page no answer, a 404 neither."""
        preflight = self._origins.preflight(request.headers, is_open=progress.is_open)
        if not preflight and not progress.is_open:
            progress.route = self._routes.find(path)[0].path
        return Answer(b"", 204, {"Allow": ALLOWED_METHODS, **preflight})

    def _to_response(
        self, request: web.BaseRequest, packed: Packed, progress: Progress
    ) -> OutgoingResponse:
        """The answer with the headers that every answer carries."""
        headers = self._to_headers(request, packed.answer, progress)
        if packed.coding is not None:
            headers["Content-Encoding"] = packed.coding
        if not packed.body:
            del headers["Content-Type"]
        return OutgoingResponse(
            body=packed.body, status=packed.answer.status, headers=headers, parcel=packed.parcel
        )

    async def _stream(
        self, request: web.BaseRequest, stream: Stream, progress: Progress
    ) -> web.StreamResponse:
        headers = self._to_headers(request, Answer(b""), progress)
        is_in_force = partial(
            self._authentication.authenticate,
            request.headers.get("Authorization"),
            partial(self._addresses.client_of, request),
        )
        return await stream.send(request, headers, is_in_force)

    def _to_headers(
        self, request: web.BaseRequest, answer: Answer, progress: Progress
    ) -> dict[str, str]:
        headers = common_headers(progress.request_id)
        headers["Vary"] = f"{headers['Vary']}, {self._origins.vary}"
        headers.update(self._origins.headers(request.headers, is_open=progress.is_open))
        headers.update(answer.headers)
        if progress.allowance is not None:
            headers |= progress.allowance.headers()
        if progress.is_strict:
            headers["Preference-Applied"] = "handling=strict"
        return headers

    def _take_allowance(self, caller: ApiKey, progress: Progress) -> None:
        progress.allowance = allowance = self._rate_limits.take(caller.id, caller.rate)
        if allowance is not None and allowance.is_exceeded:
            raise Exceeded("API call count exceeded for this period", allowance, "key")


def to_request_id(sent: str | None) -> str:
    """The client's own, where it is harmless in a header and in a log; else one that is no secret."""
    if sent and _REQUEST_ID_FORM.fullmatch(sent):
        return sent
    return f"{random.getrandbits(96):024x}"


async def _encode(answer: Answer, request: web.BaseRequest, parcel: Parcel | None = None) -> Packed:
    body, coding = await encode_body(answer.body, request.headers.get("Accept-Encoding"))
    return Packed(answer, body, coding, parcel)


def _plain(answer: Answer) -> Packed:
    """As it is: too small to be compressed or counted."""
    return Packed(answer, answer.body)


def common_headers(request_id: str) -> dict[str, str]:
    """What every answer carries. `Server` is here to keep aiohttp from telling its version."""
    return {
        "Content-Type": "application/json",
        "Server": "activity-service",
        "Vary": "Accept, Accept-Encoding",
        REQUEST_ID: request_id,
    }


def _has_sent_all(request: web.BaseRequest) -> bool:
    """Whether the connection has nothing left of former answers."""
    return request.transport is None or not request.transport.get_write_buffer_size()


def _require_read(request: web.BaseRequest) -> None:
    if request.method not in _READS and not overrides_method(request):
        raise MethodNotAllowed(
            f"Only {ALLOWED_METHODS} are allowed here: writing happens through Kafka."
        )


def _log(error: Exception, answer: Answer, progress: Progress) -> None:
    """What clients did wrong and what was too much is counted, not logged; a defect of ours keeps
    its stack."""
    facts = {"request_id": progress.request_id, "route": progress.route}
    if answer.status == 500:
        logger.error("request failed", exc_info=error, extra=facts)
    elif isinstance(error, StoreError | TooSlow):
        logger.warning("request not answered: %s", error, extra=facts)
