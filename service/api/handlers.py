"""The endpoints (contract 3.1). Each does three things: parse, ask the store once, render.

Parsing is done when a handler is called; what it gives back does the rest when its turn has come.
"""

import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial

from service.activities.base import ID_PATTERN
from service.activities.types import TYPES, ActivityType
from service.api.answers import Answer, to_answer
from service.api.followed import Followed
from service.api.following import Following
from service.api.parameters import PAGING, Pairs, to_query_string
from service.api.stream import Stream
from service.errors import InvalidRequest, NotAcceptable, NotFound, StoreTimeout, TooSlow
from service.listing.cursor import Cursors
from service.listing.event_ids import Place
from service.listing.parser import parse_fields, parse_query, require_known
from service.listing.query import Fields, Page, Query
from service.settings import HttpSettings
from service.store.keys import ApiKey
from service.store.mongo import Mongo, to_primary
from service.store.plans import is_indexed, to_residual_fields
from service.store.reads import find_page, get_activity
from service.store.rendering import render_page

BASE_PATH = "/api/v1"
OPENAPI_PATH = f"{BASE_PATH}/openapi.json"

_ID = re.compile(ID_PATTERN)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler knows of a request. `query` is the query string alone, `parameters` with the
    `_params` of a body laid over it; `id` is what stands in the path behind the route's own;
    `is_strict` asks that unknown parameters be refused; `since` is the `Last-Event-ID`."""

    caller: ApiKey
    path: str
    query: Pairs
    parameters: Pairs
    tz_offset: str | None
    id: str
    is_strict: bool = False
    since: str | None = None

    @property
    def question(self) -> Hashable:
        """What is asked for, whichever page of it."""
        return self.path, *(pair for pair in self.parameters if pair[0] not in PAGING)


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do of a call. `is_indexed` says that an index answers it, however much
    there is; without `asks_store` it need not wait for a turn."""

    run: Callable[[], Awaitable[Answer]]
    is_indexed: bool = True
    asks_store: bool = True


Handler = Callable[[Call], Work]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is how it is documented and measured; `follow` answers with events, where it can."""

    path: str
    handler: Handler
    follow: Handler | None = None


class Routes:
    """Paths without their final slash: whole ones, and those that an id follows."""

    def __init__(self) -> None:
        self._whole: dict[str, Route] = {}
        self._with_id: dict[str, Route] = {}

    def add(self, path: str, handler: Handler, follow: Handler | None = None) -> None:
        self._whole[path] = Route(f"{path}/", handler, follow)

    def add_with_id(self, path: str, handler: Handler) -> None:
        self._with_id[path] = Route(f"{path}/{{id}}/", handler)

    def find(self, path: str) -> tuple[Route, str]:
        """The route and the id in its path, `""` where it has none. Raises `NotFound`."""
        path = path.removesuffix("/")
        if (route := self._whole.get(path)) is not None:
            return route, ""
        parent, _, activity_id = path.rpartition("/")
        if (route := self._with_id.get(parent)) is not None:
            return route, activity_id
        raise NotFound("There is no such path.")


class Handlers:
    """The endpoints of one process, with what they share."""

    def __init__(self, mongo: Mongo, settings: HttpSettings, following: Following) -> None:
        self._mongo = mongo
        self._settings = settings
        self._following = following
        self._cursors = Cursors(settings.cursor_secret.get_secret_value())

    def routes(self) -> Routes:
        routes = Routes()
        activities = f"{BASE_PATH}/activity"
        for own_type in TYPES:
            path = f"{activities}/{own_type.path}"
            self._add_listing(routes, path, own_type)
            routes.add_with_id(path, partial(self.get_activity, own_type=own_type))
        self._add_listing(routes, activities, None)
        routes.add_with_id(activities, self.get_activity)
        routes.add(f"{BASE_PATH}/me", self.get_me)
        return routes

    def _add_listing(self, routes: Routes, path: str, own_type: ActivityType | None) -> None:
        list_, follow = (
            partial(answer, path=f"{path}/", own_type=own_type)
            for answer in (self.list_activities, self.follow_activities)
        )
        routes.add(path, list_, follow)

    def list_activities(
        self, call: Call, *, path: str, own_type: ActivityType | None = None
    ) -> Work:
        query = self._parse(call, own_type)
        return Work(partial(self._list, call, path, query), is_indexed=is_indexed(query))

    def follow_activities(
        self, call: Call, *, path: str, own_type: ActivityType | None = None
    ) -> Work:
        """The listing as it is now, or what has happened since, and what happens to it then. It takes
        no turn among requests. Raises `NotAcceptable` where no feed is kept."""
        if not self._mongo.keeps_feed:
            raise NotAcceptable(
                "Following is switched off here, so there are no events: ask for application/json."
            )
        for name, text in call.parameters:
            if name in PAGING and text:
                raise InvalidRequest(
                    f"{name}: a listing is followed from its first row on.", parameter=name
                )
        query = self._parse(call, own_type)
        followed = Followed.of(path, query)
        since = call.since or next((text for name, text in call.parameters if name == "_since"), "")
        place = self._following.ids.decode(since, followed.bound) if since else None
        return Work(partial(self._follow, call, query, followed, place), asks_store=False)

    def get_activity(self, call: Call, *, own_type: ActivityType | None = None) -> Work:
        if not _ID.fullmatch(call.id):
            raise _no_activity()
        fields = parse_fields(call.parameters, is_strict=call.is_strict)
        return Work(partial(self._get, call, own_type, fields))

    def get_me(self, call: Call) -> Work:
        """The caller is its key: clients read `organizations[0]` before anything else."""
        if call.is_strict:
            require_known(call.parameters, ())
        return Work(partial(self._tell_caller, call.caller), asks_store=False)

    def _parse(self, call: Call, own_type: ActivityType | None) -> Query:
        return parse_query(
            call.parameters,
            organization_id=call.caller.organization_id,
            own_type=own_type,
            tz_offset=call.tz_offset,
            cursors=self._cursors,
            is_strict=call.is_strict,
        )

    async def _find_page(self, mongo: Mongo, query: Query) -> Page:
        settings = self._settings
        limits = settings.query_max_seconds, settings.filter_max_seconds
        max_seconds = limits[0] if is_indexed(query) else min(limits)
        try:
            return await find_page(
                mongo, query, max_seconds=max_seconds, max_page_bytes=settings.max_page_bytes
            )
        except StoreTimeout as error:
            raise TooSlow(to_advice(query, max_seconds)) from error

    async def _follow(
        self, call: Call, query: Query, followed: Followed, since: Place | None
    ) -> Answer:
        async def read_page() -> bytes:
            return render_page(await self._find_page(to_primary(self._mongo), query))

        stream = Stream(
            self._following, followed, key_id=call.caller.id, read_page=read_page, since=since
        )
        await stream.open()
        return Answer(b"", stream=stream)

    async def _list(self, call: Call, path: str, query: Query) -> Answer:
        page = await self._find_page(self._mongo, query)
        body = render_page(page)
        if page.next is None:
            return Answer(body)
        following = to_query_string(call.query, self._cursors.encode(query, page.next))
        return Answer(body, headers={"Link": f'<{path}?{following}>; rel="next"'})

    async def _get(
        self, call: Call, own_type: ActivityType | None, fields: Fields | None
    ) -> Answer:
        activity = await get_activity(
            self._mongo,
            call.caller.organization_id,
            call.id,
            type_name=own_type.name if own_type else None,
            fields=fields,
            max_seconds=self._settings.query_max_seconds,
            max_page_bytes=self._settings.max_page_bytes,
        )
        if activity is None:
            raise _no_activity()
        return Answer(activity)

    async def _tell_caller(self, caller: ApiKey) -> Answer:
        organization = {"id": caller.organization_id, "name": caller.organization_id}
        return to_answer(
            {"id": caller.id, "name": caller.name or caller.id, "organizations": [organization]}
        )


def to_advice(query: Query, max_seconds: float) -> str:
    """What makes a listing faster that was too slow (contract 3.6)."""
    field = query.sort.field
    ways = [f"date bounds ({field}__gte, {field}__lt)"]
    if query.leads is None:
        ways.append("one lead_id")
    if query.skip:
        ways.append("a _cursor from a Link header in place of _skip")
    if query.limit > 1:
        ways.append("a smaller _limit")
    text = f"The query ran past its time limit of {max_seconds:g} s."
    if filters := to_residual_fields(query):
        text += (
            f" No index answers {', '.join(filters)}: each activity had to be looked at. Please narrow"
            " that filter:"
        )
    else:
        text += " Please narrow it:"
    return f"{text} give {', or '.join(ways)}."


def _no_activity() -> NotFound:
    return NotFound("There is no such activity.")
