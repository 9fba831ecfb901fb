"""The way of every request, outermost first: request id, metrics, errors, key, rate, capacity.

They are flat functions, not a tower of wrappers: a request costs microseconds before its find.
"""

import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

from aiohttp import web

from service.api.answers import Answer, encode_body
from service.api.authentication import Authentication
from service.api.capacity import Capacity
from service.api.failures import ALLOWED_METHODS, to_error_answer
from service.api.handlers import OPENAPI_PATH, Call, Routes
from service.api.origins import Origins
from service.api.outbox import Outbox, OutgoingResponse
from service.api.pages import Page
from service.api.parameters import overrides_method, read_parameters, read_query
from service.api.preferences import is_strict
from service.api.rate_limits import Allowance, RateLimits
from service.api.readiness import Readiness
from service.api.revalidation import revalidate
from service.errors import MethodNotAllowed, RateLimited, StoreError
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


class Gate:
    """Lets a request through to its handler, or answers why not. Nothing but a client that hangs
    up (`CancelledError`) leaves it unanswered."""

    def __init__(
        self,
        *,
        routes: Routes,
        openapi: bytes,
        pages: Sequence[Page],
        authentication: Authentication,
        rate_limits: RateLimits,
        origins: Origins,
        capacity: Capacity,
        outbox: Outbox,
        readiness: Readiness,
    ) -> None:
        self._routes = routes
        self._openapi = Answer(openapi)
        self._pages = pages
        self._authentication = authentication
        self._rate_limits = rate_limits
        self._origins = origins
        self._capacity = capacity
        self._outbox = outbox
        self._readiness = readiness

    async def handle(self, request: web.BaseRequest) -> web.Response:
        started = perf_counter()
        progress = Progress(to_request_id(request.headers.get(REQUEST_ID)))
        status = "hung up"
        try:
            answer = await self._answer_errors(request, progress)
            answer = revalidate(answer, request.if_none_match)
            status = str(answer.status)
            response = await self._to_response(request, answer, progress)
            if self._readiness.is_draining:
                # A connection that stays open would meet its end between two requests.
                response.force_close()
            return response
        finally:
            method = request.method if request.method in _METHODS else "other"
            _requests(progress.route, method, status).inc()
            _request_seconds(progress.route).observe(perf_counter() - started)

    async def _answer_errors(self, request: web.BaseRequest, progress: Progress) -> Answer:
        try:
            return await self._answer(request, progress)
        except Exception as error:  # noqa: BLE001 the outermost edge: whatever it is, it is answered
            answer = to_error_answer(error, progress.allowance)
            _log(error, answer, progress)
            return answer

    async def _answer(self, request: web.BaseRequest, progress: Progress) -> Answer:
        path = request.rel_url.path_safe
        if path.removesuffix("/") == OPENAPI_PATH:
            progress.route = OPENAPI_PATH
        if request.method == "OPTIONS":
            return self._tell_options(request, path, progress)
        if progress.route == OPENAPI_PATH:
            _require_read(request)
            return self._openapi
        for page in self._pages:
            if (file := page.find(path)) is not None:
                progress.route = page.path
                _require_read(request)
                return file
        caller = await self._authentication.authenticate(request.headers.get("Authorization"))
        self._take_allowance(caller, progress)
        route, activity_id = self._routes.find(path)
        progress.route = route.path
        _require_read(request)
        progress.is_strict = is_strict(request.headers.getall("Prefer", ()))
        query = read_query(request)
        call = Call(
            caller=caller,
            query=query,
            parameters=await read_parameters(request, query),
            tz_offset=request.headers.get("X-TZ-Offset"),
            id=activity_id,
            is_strict=progress.is_strict,
        )
        self._readiness.require_indexes()
        self._outbox.require_room()
        async with self._capacity:
            return await route.handler(call)

    def _tell_options(self, request: web.BaseRequest, path: str, progress: Progress) -> Answer:
        """What is allowed, told without a key. A preflight is answered whatever the path: behind
        one that fails, a browser shows a page no answer, a 404 neither."""
        preflight = self._origins.preflight(request.headers, is_open=progress.is_open)
        if not preflight and not progress.is_open:
            progress.route = self._routes.find(path)[0].path
        return Answer(b"", 204, {"Allow": ALLOWED_METHODS, **preflight})

    async def _to_response(
        self, request: web.BaseRequest, answer: Answer, progress: Progress
    ) -> web.Response:
        """`answer` with the headers that every answer carries."""
        body, coding = await encode_body(answer.body, request.headers.get("Accept-Encoding"))
        headers = common_headers(progress.request_id)
        headers["Vary"] = f"{headers['Vary']}, {self._origins.vary}"
        headers.update(self._origins.headers(request.headers, is_open=progress.is_open))
        headers.update(answer.headers)
        if coding is not None:
            headers["Content-Encoding"] = coding
        if not body:
            del headers["Content-Type"]
        if progress.allowance is not None:
            headers |= progress.allowance.headers()
        if progress.is_strict:
            headers["Preference-Applied"] = "handling=strict"
        return OutgoingResponse(self._outbox, body=body, status=answer.status, headers=headers)

    def _take_allowance(self, caller: ApiKey, progress: Progress) -> None:
        progress.allowance = allowance = self._rate_limits.take(caller.id, caller.rate)
        if allowance is not None and allowance.is_exceeded:
            raise RateLimited("API call count exceeded for this period")


def to_request_id(sent: str | None) -> str:
    """The client's own, where it is harmless in a header and in a log; else one that is no secret."""
    if sent and _REQUEST_ID_FORM.fullmatch(sent):
        return sent
    return f"{random.getrandbits(96):024x}"


def common_headers(request_id: str) -> dict[str, str]:
    """What every answer carries. `Server` is here to keep aiohttp from telling its version."""
    return {
        "Content-Type": "application/json",
        "Server": "activity-service",
        "Vary": "Accept-Encoding",
        REQUEST_ID: request_id,
    }


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
    elif isinstance(error, StoreError):
        logger.warning("request not answered: %s", error, extra=facts)
