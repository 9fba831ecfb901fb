"""The feed: which rows have changed, written once they are durable (design 9).

Consumers write it, one document or more a batch, after its activities and threads and before its
positions are committed: so nothing is missing from it, and what is delivered again is told again.
Its order, that of MongoDB's log, is everybody's, and its positions, MongoDB's resume tokens, are
good on every process. It says where to look and never what is there: whoever follows asks the
listing.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, NamedTuple

import orjson
from bson import ObjectId
from bson.timestamp import Timestamp
from pymongo import ReadPreference
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from service.bson.encoding import encode
from service.errors import FeedLost, StoreUnavailable
from service.store.mongo import Mongo, asking
from service.store.raw import RawDocument

# With the longest ids, and a lead left, two megabytes.
MAX_ROWS_A_DOCUMENT = 4000
# So long MongoDB holds a question back while there is no answer; then it tells how far it has come.
MAX_AWAIT_SECONDS = 0.25
_LOST_CODES = frozenset(
    {
        136,  # CappedPositionLost
        260,  # InvalidResumeToken
        280,  # ChangeStreamFatalError: among others, the place of the token is not there
        286,  # ChangeStreamHistoryLost
    }
)
_WRITTEN: Sequence[Mapping[str, Any]] = ({"$match": {"operationType": "insert"}},)
# How MongoDB writes a timestamp, with which every position begins.
_TIMESTAMP = b"\x82"
_TIMESTAMP_END = 9


LogTime = Timestamp
"""A time of MongoDB's log."""


class ChangedRow(NamedTuple):
    """An activity or a thread that has changed, by its stored id.

    `leads` are those whose listings it may have entered, changed in or left: the one it has now,
    and all that it had before and that have not been told. `is_first` is true where nothing was
    stored of it before, so that no listing can have shown it earlier.
    """

    organization_id: str
    id: str
    type_name: str
    leads: tuple[str, ...]
    is_first: bool


ChangedRows = dict[str, list[tuple[str, str, tuple[str, ...], bool]]]
"""By organization, the rest of a changed row each: plain tuples, for there are thousands a batch."""


class Told(NamedTuple):
    """One document of the feed. `written_at` is UTC, by the writer's clock; `texts` are its rows, by
    organization."""

    written_at: datetime
    texts: Mapping[str, str]

    def rows(self, organization_id: str) -> Iterator[ChangedRow]:
        """Those of one organization."""
        for id_, type_name, leads, is_first in orjson.loads(self.texts.get(organization_id, "[]")):
            yield ChangedRow(organization_id, id_, type_name, tuple(leads), is_first)

    @property
    def size(self) -> int:
        return sum(map(len, self.texts.values()))


async def write_feed(mongo: Mongo, rows: ChangedRows) -> None:
    """On return these changes are told, durably (majority). Safe to repeat. Raises
    `StoreUnavailable`."""
    if not rows:
        return
    documents = list(_to_documents(rows))
    async with asking(mongo):
        try:
            await mongo.feed.insert_many(documents)
        except BulkWriteError as error:
            raise StoreUnavailable("MongoDB does not take the feed now") from error


def _to_documents(rows: ChangedRows) -> Iterator[RawDocument]:
    """The rows of an organization are one text of JSON: whoever reads the feed looks into those that
    somebody follows, and nobody else pays for what is in a text."""
    texts: list[dict[str, str]] = []
    count = 0
    for organization_id, own in rows.items():
        for start in range(0, len(own), MAX_ROWS_A_DOCUMENT):
            part = own[start : start + MAX_ROWS_A_DOCUMENT]
            if count + len(part) > MAX_ROWS_A_DOCUMENT:
                yield _to_document(texts)
                texts, count = [], 0
            text = orjson.dumps(part).decode()
            texts.append({"organization_id": organization_id, "rows": text})
            count += len(part)
    yield _to_document(texts)


def _to_document(texts: list[dict[str, str]]) -> RawDocument:
    now = datetime.now(UTC).replace(tzinfo=None)
    return RawDocument(encode({"_id": ObjectId(), "written_at": now, "organizations": texts}))


class FeedReader:
    """Reads the feed in its order. `position` is behind everything that was read; None until it is
    known, after a `read` at the latest."""

    def __init__(self, mongo: Mongo, stream: Any, position: bytes | None) -> None:
        self._mongo = mongo
        self._stream = stream
        self.position = position

    async def read(self) -> Told | None:
        """What the next document tells, or None where none comes within `MAX_AWAIT_SECONDS`.

        Raises `FeedLost` and `StoreUnavailable`.
        """
        async with _asking(self._mongo):
            change = await self._stream.try_next()
            if not self._stream.alive:
                raise FeedLost("the feed was dropped")
        self.position = _to_position(self._stream)
        if change is None:
            return None
        document = change["fullDocument"]
        texts = {one["organization_id"]: one["rows"] for one in document["organizations"]}
        return Told(document["written_at"], texts)


@asynccontextmanager
async def reading(
    mongo: Mongo, *, after: bytes | None = None, since: LogTime | None = None
) -> AsyncIterator[FeedReader]:
    """Read the feed behind a position, or from a time on; else from now on.

    From the primary, as everything that is asked on account of it. Raises `FeedLost` and
    `StoreUnavailable`.
    """
    feed = mongo.feed.with_options(read_preference=ReadPreference.PRIMARY)
    async with _asking(mongo):
        stream = feed.watch(
            list(_WRITTEN),
            resume_after=None if after is None else {"_data": after.hex().upper()},
            start_at_operation_time=since,
            max_await_time_ms=int(MAX_AWAIT_SECONDS * 1000),
        )
        position = after
        if isawaitable(stream):  # Motor's asks when it is read
            stream = await stream
            position = _to_position(stream)
    try:
        yield FeedReader(mongo, stream, position)
    finally:
        with suppress(PyMongoError, TimeoutError):
            await stream.close()


def _to_position(stream: Any) -> bytes | None:
    token = stream.resume_token
    return bytes.fromhex(token["_data"]) if token else None


async def reaches_back(mongo: Mongo, seconds: int) -> bool | None:
    """Whether MongoDB's log reaches so far back; None where it may not be looked into, for which the
    role `read` on the database `local` is needed. Raises `StoreUnavailable`."""
    since = seconds_before(await get_time(mongo), seconds)
    log = mongo.client["local"]["oplog.rs"]
    async with asking(mongo):
        try:
            oldest = await log.find_one({}, {"ts": 1, "o.msg": 1}, sort=[("$natural", 1)])
        except OperationFailure:
            return None
    if oldest is None:
        return None
    is_whole = oldest.get("o", {}).get("msg") == "initiating set"
    return is_whole or bool(oldest["ts"] <= since)


async def get_time(mongo: Mongo) -> LogTime:
    """The time of MongoDB's log. Raises `StoreUnavailable`."""
    async with _asking(mongo):
        answer = await mongo.feed.database.command("ping", read_preference=ReadPreference.PRIMARY)
    time: LogTime = answer["operationTime"]
    return time


def seconds_before(time: LogTime, seconds: int) -> LogTime:
    return Timestamp(time.time - seconds, 1)


def has_reached(position: bytes, time: LogTime) -> bool:
    """Whether a position is not before this time. One in a form that is not known is not."""
    if not position.startswith(_TIMESTAMP):
        return False
    return position[len(_TIMESTAMP) : _TIMESTAMP_END] >= _to_bytes(time)


def to_time(position: bytes) -> LogTime:
    """Of a position, the time in MongoDB's log."""
    seconds, number = position[len(_TIMESTAMP) : _TIMESTAMP_END - 4], position[5:_TIMESTAMP_END]
    return Timestamp(int.from_bytes(seconds, "big"), int.from_bytes(number, "big"))


def to_position(time: LogTime) -> bytes:
    """Before everything of this time."""
    return _TIMESTAMP + _to_bytes(time)


def _to_bytes(time: LogTime) -> bytes:
    return time.time.to_bytes(4, "big") + time.inc.to_bytes(4, "big")


@asynccontextmanager
async def _asking(mongo: Mongo) -> AsyncIterator[None]:
    async with asking(mongo):
        try:
            yield
        except OperationFailure as error:
            if error.code not in _LOST_CODES:
                raise
            raise FeedLost(f"the feed does not reach back so far ({error.code})") from error
