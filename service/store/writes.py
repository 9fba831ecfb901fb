"""Guarded writes: a write can only ever raise an activity's revision (I3).

A change has two tries. The first is the cheapest write that is right when nothing of a thread has
to be carried over: an insert of what is said to be new, else a plain guarded replacement. Where the
stored activity stands in its way (a duplicate key) and is older, the second try is a pipeline that
carries `left_threads` on (design 5.1). There the document exists for certain, so that a second
duplicate key means stale.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from bson import encode
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReadPreference, ReplaceOne, UpdateOne
from pymongo.read_concern import ReadConcern

from service.activities.events import Change
from service.store.indexes import PRIMARY
from service.store.mongo import (
    DUPLICATE_KEY,
    TRANSIENT_CODES,
    Mongo,
    translated_errors,
    write_unordered,
)

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
_TOO_LARGE_CODES = frozenset(
    {
        10334,  # BSONObjectTooLarge
        17419,  # the document after an update is too large
        17420,  # likewise, of a document that moves
    }
)

Operation = InsertOne[Any] | ReplaceOne[Any] | UpdateOne


class Encoded(RawBSONDocument):
    """A document as BSON, encoded once. The driver asks of it only whether it is empty, for which
    its own class would decode it again."""

    def __bool__(self) -> bool:
        return True


class Outcome(StrEnum):
    """What became of one change."""

    APPLIED = "applied"
    STALE = "stale"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one change; `reason` and `is_too_large` say why MongoDB refused a document.

    `leaves_nothing` is true where the write itself saw to it that the activity has left no thread:
    the change's own is the only one to refresh, and nothing need be read back.
    """

    outcome: Outcome
    reason: str = ""
    is_too_large: bool = False
    leaves_nothing: bool = False


_APPLIED = Written(Outcome.APPLIED)
_APPLIED_AND_LEAVES_NOTHING = Written(Outcome.APPLIED, leaves_nothing=True)
_STALE = Written(Outcome.STALE)
_UNCONFIRMED = Written(Outcome.UNCONFIRMED)


class _Write(NamedTuple):
    """A change and the document it becomes, encoded once for both tries."""

    change: Change
    document: Encoded
    meta: Mapping[str, str]

    @property
    def key(self) -> str:
        return to_key(self.change.organization_id, self.change.id)

    def guard(self) -> dict[str, Any]:
        return {
            "_id": self.key,
            "organization_id": self.change.organization_id,
            "_meta.revision": {"$lt": self.change.revision},
        }


async def write_changes(mongo: Mongo, changes: Sequence[Change]) -> list[Written]:
    """Write changes of distinct activities; the answers stand in their order.

    On return every APPLIED change is durable (majority), and so is what makes one STALE.
    UNCONFIRMED ones may or may not have been written and are to be repeated; one refused document
    never fails its neighbours. Raises `StoreUnavailable` where the connection fails on the way:
    all are to be repeated then.
    """
    written, writes = _encode_documents(changes)
    first = await _try(mongo, {place: _first_try(write) for place, write in writes.items()})
    blocked = {place: writes[place] for place, answer in first.items() if answer is _STALE}
    older = await _find_older(mongo, blocked)
    second = await _try(mongo, {place: _second_try(writes[place]) for place in older})
    written |= first | second
    return [written[place] for place in range(len(changes))]


def to_key(organization_id: str, stored_id: str) -> str:
    """The `_id` of a document: tenants are apart by construction (design 3)."""
    return f"{organization_id}!{stored_id}"


def _encode_documents(
    changes: Sequence[Change],
) -> tuple[dict[int, Written], dict[int, _Write]]:
    """By place: what can be written, and what cannot, found here so that it fails nobody else."""
    refused, writes = {}, {}
    for place, change in enumerate(changes):
        try:
            write = _to_write(change)
        except (BSONError, OverflowError, ValueError, TypeError, RecursionError) as error:
            refused[place] = Written(Outcome.REFUSED, f"not BSON: {type(error).__name__}")
            continue
        size = len(write.document.raw)
        if size > MAX_DOCUMENT_BYTES:
            refused[place] = Written(Outcome.REFUSED, f"{size} bytes of BSON", is_too_large=True)
        else:
            writes[place] = write
    return refused, writes


def _to_write(change: Change) -> _Write:
    meta = {"revision": change.revision}
    if change.activity is not None and change.thread_id is not None:
        meta["thread"] = change.thread_id
    document: dict[str, Any] = {"_id": to_key(change.organization_id, change.id)}
    if change.activity is not None:
        document |= {**change.activity, "id": change.id}
    document |= {"organization_id": change.organization_id, "_meta": meta}
    return _Write(change, Encoded(encode(document)), meta)


def _first_try(write: _Write) -> Operation:
    if write.change.activity is None:
        return _second_try(write)
    if write.change.is_new:
        return InsertOne(write.document)
    leaves_nothing = {"_meta.thread": write.meta.get("thread"), "_meta.left_threads": None}
    return ReplaceOne(write.guard() | leaves_nothing, write.document, upsert=True)


def _second_try(write: _Write) -> Operation:
    left = {"$setUnion": [{"$ifNull": ["$_meta.left_threads", []]}, _left_now(write.meta)]}
    meta: dict[str, Any] = {
        "left_threads": {"$cond": [{"$eq": [left, []]}, "$$REMOVE", left]},
        **{key: {"$literal": value} for key, value in write.meta.items()},
    }
    if write.change.activity is None:
        meta["deleted_at"] = "$$NOW"
    merged = {"$mergeObjects": [{"$literal": write.document}, {"_meta": meta}]}
    return UpdateOne(write.guard(), [{"$replaceWith": merged}], upsert=True)


def _left_now(meta: Mapping[str, str]) -> dict[str, Any]:
    """The thread of the stored activity, in a list, where it has one that is not the new one."""
    stays_or_has_none = [None, meta.get("thread")]
    thread = {"$ifNull": ["$_meta.thread", None]}
    return {"$cond": [{"$in": [thread, {"$literal": stays_or_has_none}]}, [], ["$_meta.thread"]]}


async def _try(mongo: Mongo, operations: Mapping[int, Operation]) -> dict[int, Written]:
    """Answer by place. STALE: a document of that `_id` that the guard did not let pass."""
    if not operations:
        return {}
    places = list(operations)
    answers: dict[int, Written] = {
        place: _APPLIED if isinstance(operation, UpdateOne) else _APPLIED_AND_LEAVES_NOTHING
        for place, operation in operations.items()
    }
    faults = await write_unordered(mongo.activities, list(operations.values()))
    return answers | {places[index]: _to_written(code) for index, code in faults.items()}


def _to_written(code: int) -> Written:
    if code == DUPLICATE_KEY:
        return _STALE
    if code in TRANSIENT_CODES:
        return _UNCONFIRMED
    return Written(Outcome.REFUSED, f"code {code}", is_too_large=code in _TOO_LARGE_CODES)


async def _find_older(mongo: Mongo, blocked: Mapping[int, _Write]) -> Collection[int]:
    """Places of those whose stored revision is older than theirs, as far as is known.

    Read from what a majority holds: a revision that a failover may take back makes nothing stale.
    """
    if not blocked:
        return ()
    durable = mongo.activities.with_options(
        read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
    )
    query = {
        "organization_id": {"$in": sorted({w.change.organization_id for w in blocked.values()})},
        "_id": {"$in": [write.key for write in blocked.values()]},
    }
    async with translated_errors():
        found = durable.find(query, {"_meta.revision": 1}, hint=PRIMARY)
        revisions = {document["_id"]: document["_meta"]["revision"] async for document in found}
    return [
        place
        for place, write in blocked.items()
        if revisions.get(write.key, "") < write.change.revision
    ]
