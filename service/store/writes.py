"""Guarded writes: a write can only ever raise an activity's revision (I3).

A change has two tries. The first is the cheapest write that is right when nothing of a thread has
to be carried over: an insert of what is said to be new, else a plain guarded replacement. Where the
stored activity stands in its way (a duplicate key) and is older, the second try is a pipeline that
carries `left_threads` and `left_leads` on (design 5.1 and 9). There the document exists for certain,
so that a second duplicate key means stale. Each names its index, as every find does (I1): left to itself, MongoDB
weighs every index that begins with the organization, a tenth of its work on an update.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from bson.errors import BSONError
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from pymongo import ReadPreference, ReplaceOne, UpdateOne
from pymongo.read_concern import ReadConcern

from service.activities.events import Change
from service.bson.encoding import encode
from service.bson.fields import Fields
from service.errors import Rejected, RejectionCode
from service.store.blame import Blame, WriteFault
from service.store.bulks import write_unordered
from service.store.ids import to_key
from service.store.indexes import PRIMARY
from service.store.mongo import Mongo, asking
from service.store.oddities import decode_some
from service.store.raw import RawDocument

_REVISION = Fields(["_meta.revision"])
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


# A document is to be inserted.
Operation = RawDocument | ReplaceOne[Any] | UpdateOne


class Outcome(StrEnum):
    """What became of one change. STALE: a newer one came first; DUPLICATE: this very one did.
    REFUSED: its document can never be stored. UNCONFIRMED: not now; UNEXPLAINED: not now, and it
    may be for the document's sake."""

    APPLIED = "applied"
    STALE = "stale"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one change; `reason` and `is_too_large` say why MongoDB did not take it.

    `leaves_nothing` is true where the write itself saw to it that the activity has left no thread
    and, where a feed is kept, no lead: the change's own are the only ones concerned, and nothing
    need be read back.
    `is_first` is true where nothing was stored of the activity before.
    """

    outcome: Outcome
    reason: str = ""
    is_too_large: bool = False
    leaves_nothing: bool = False
    is_first: bool = False


_APPLIED = Written(Outcome.APPLIED)
_APPLIED_AND_LEAVES_NOTHING = Written(Outcome.APPLIED, leaves_nothing=True)
_INSERTED = Written(Outcome.APPLIED, leaves_nothing=True, is_first=True)
_STALE = Written(Outcome.STALE)
_DUPLICATE = Written(Outcome.DUPLICATE)
_IN_THE_WAY = Written(
    Outcome.UNEXPLAINED, "a document of its `_id` has another organization, or no revision"
)


class EncodedChange(NamedTuple):
    """A change with its document as BSON, and what the store needs to know of it besides.

    The activity itself is not kept: behind a backlog there are thousands at a time.
    `thread_id` and `lead_id` are those that the document is stored with.
    """

    organization_id: str
    id: str
    event_id: str
    revision: str
    thread_id: str | None
    lead_id: str | None
    type_name: str
    is_new: bool
    is_delete: bool
    deviations: tuple[tuple[str, str], ...]
    document: bytes

    @property
    def key(self) -> str:
        return to_key(self.organization_id, self.id)

    @property
    def meta(self) -> dict[str, str]:
        return _to_meta(self.revision, self.thread_id)

    def guard(self) -> dict[str, Any]:
        return {
            "_id": self.key,
            "organization_id": self.organization_id,
            "_meta.revision": {"$lt": self.revision},
        }


def encode_change(change: Change) -> EncodedChange:
    """Takes over the change's activity. Raises `Rejected` where no document can hold it."""
    organization_id, id_, event_id, revision, activity, thread_id, type_name, is_new, deviations = (
        change
    )
    if is_delete := activity is None:
        activity, thread_id = {}, None
    else:
        activity["id"] = id_
    activity["_id"] = to_key(organization_id, id_)
    activity["organization_id"] = organization_id
    activity["_meta"] = _to_meta(revision, thread_id)
    document = _encode(activity, change)
    return EncodedChange(
        organization_id,
        id_,
        event_id,
        revision,
        thread_id,
        activity.get("lead_id"),
        type_name,
        is_new,
        is_delete,
        deviations,
        document,
    )


async def write_changes(mongo: Mongo, changes: Sequence[EncodedChange]) -> list[Written]:
    """Write changes of distinct activities; what became of each stands in their order.

    On return every APPLIED change is durable (majority), and so is what makes one STALE or
    DUPLICATE.
    UNCONFIRMED and UNEXPLAINED ones may or may not have been written and are to be repeated; one
    refused document never fails its neighbours. Raises `StoreUnavailable` where the connection
    fails on the way: all are to be repeated then.
    """
    written = await _try(mongo, [_first_try(change, mongo) for change in changes])
    blocked = [place for place, answer in enumerate(written) if answer is _STALE]
    stored = await _find_revisions(mongo, [changes[place] for place in blocked])
    older = []
    for place in blocked:
        revision = stored.get(changes[place].key, "")
        if revision == changes[place].revision:
            written[place] = _DUPLICATE
        elif revision < changes[place].revision:
            older.append(place)
    again = await _try(mongo, [_second_try(changes[place]) for place in older])
    lost = []
    for place, answer in zip(older, again, strict=True):
        written[place] = answer
        if answer is _STALE and not stored.get(changes[place].key):
            lost.append(place)
    found = await _find_revisions(mongo, [changes[place] for place in lost], level="local")
    for place in lost:
        if not found.get(changes[place].key):
            written[place] = _IN_THE_WAY
    return written


def _to_meta(revision: str, thread_id: str | None) -> dict[str, str]:
    return (
        {"revision": revision} if thread_id is None else {"revision": revision, "thread": thread_id}
    )


def _encode(document: dict[str, Any], change: Change) -> bytes:
    try:
        encoded = encode(document)
    except (BSONError, OverflowError, ValueError, TypeError, RecursionError) as error:
        raise _refuse(change, "invalid_activity", f"not BSON: {type(error).__name__}") from error
    if len(encoded) > MAX_DOCUMENT_BYTES:
        raise _refuse(change, "too_large", f"{len(encoded)} bytes of BSON")
    return encoded


def _refuse(change: Change, code: RejectionCode, reason: str) -> Rejected:
    return Rejected(
        code,
        f"MongoDB cannot hold the document: {reason}",
        organization_id=change.organization_id,
        event_id=change.event_id,
    )


def _first_try(change: EncodedChange, mongo: Mongo) -> Operation:
    if change.is_delete:
        return _second_try(change)
    if change.is_new:
        return RawDocument(change.document)
    leaves_nothing = {"_meta.thread": change.thread_id, "_meta.left_threads": None}
    if mongo.keeps_feed:
        leaves_nothing |= {"lead_id": change.lead_id, "_meta.left_leads": None}
    return ReplaceOne(
        change.guard() | leaves_nothing, RawDocument(change.document), upsert=True, hint=PRIMARY
    )


def _second_try(change: EncodedChange) -> Operation:
    meta: dict[str, Any] = {
        "left_threads": _carry_on("$_meta.left_threads", "$_meta.thread", change.thread_id),
        "left_leads": _carry_on("$_meta.left_leads", "$lead_id", change.lead_id),
        **{key: {"$literal": value} for key, value in change.meta.items()},
    }
    if change.is_delete:
        meta["deleted_at"] = "$$NOW"
    document = {"$literal": RawDocument(change.document)}
    merged = {"$mergeObjects": [document, {"_meta": meta}]}
    # A revision that is none, as only a hand writes it, is the lowest.
    guard = change.guard() | {"_meta.revision": {"$not": {"$gte": change.revision}}}
    return UpdateOne(guard, [{"$replaceWith": merged}], upsert=True, hint=PRIMARY)


def _carry_on(left: str, stored: str, new: str | None) -> dict[str, Any]:
    """What the stored activity has left, and what it leaves now: its own, where that is not `new`."""
    stays_or_has_none = {"$in": [{"$ifNull": [stored, None]}, {"$literal": [None, new]}]}
    leaves = {"$cond": [stays_or_has_none, [], [stored]]}
    known = {"$cond": [{"$isArray": left}, left, []]}
    all_left = {"$setUnion": [known, leaves]}
    return {"$cond": [{"$eq": [all_left, []]}, "$$REMOVE", all_left]}


_WHEN_APPLIED: Mapping[type[Operation], Written] = MappingProxyType(
    {RawDocument: _INSERTED, ReplaceOne: _APPLIED_AND_LEAVES_NOTHING, UpdateOne: _APPLIED}
)


async def _try(mongo: Mongo, operations: Sequence[Operation]) -> list[Written]:
    """STALE: a document of that `_id` that the guard did not let pass."""
    written = [_WHEN_APPLIED[type(operation)] for operation in operations]
    for place, fault in (await write_unordered(mongo, operations)).items():
        written[place] = _STALE if fault.is_of_id else _to_written(fault)
    return written


_OUTCOMES = {
    Blame.DOCUMENT: Outcome.REFUSED,
    Blame.OUTAGE: Outcome.UNCONFIRMED,
    Blame.UNKNOWN: Outcome.UNEXPLAINED,
}


def _to_written(fault: WriteFault) -> Written:
    return Written(_OUTCOMES[fault.blame], str(fault), is_too_large=fault.is_too_large)


async def _find_revisions(
    mongo: Mongo, changes: Collection[EncodedChange], level: str = "majority"
) -> dict[str, str]:
    """The stored revisions of the activities of these changes, by `_id`; `""` is of a document that
    has none.

    Read from what a majority holds: a revision that a failover may take back makes nothing stale.
    """
    if not changes:
        return {}
    durable = mongo.activities.with_options(
        DEFAULT_RAW_BSON_OPTIONS, ReadPreference.PRIMARY, read_concern=ReadConcern(level)
    )
    query = {
        "organization_id": {"$in": sorted({change.organization_id for change in changes})},
        "_id": {"$in": [change.key for change in changes]},
    }
    async with asking(mongo):
        found = durable.find(query, {"_meta.revision": 1}, hint=PRIMARY)
        documents = await found.to_list(None)
    return {document["_id"]: _to_revision(bytes(document.raw)) for document in documents}


def _to_revision(document: bytes) -> str:
    meta = decode_some(_REVISION, document).get("_meta")
    revision = meta.get("revision") if isinstance(meta, dict) else None
    return revision if isinstance(revision, str) else ""
