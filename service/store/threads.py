"""Threads kept right by whoever writes, in whatever order (design 5).

Nobody relies on anybody: every writer refreshes the threads of its own emails, and a thread that it
has written was computed after they were stored. The batches that one process has in flight are one
writer: one of them refreshes the threads of all that wait for it, after all of these were stored. The
steps are functions of their own so that a test can stop between any two of them.

A thread of which the store knows nothing has no writer that has finished. What this batch wrote is in
it, and whatever else may be belongs to a writer that has yet to refresh it: so its members are not
read. This rests on every unfinished batch coming again, as all ingestion does. (An empty document is
swept in time, when no email has been a member for long; that an overlay may be is looked up.)

`_meta.version` of a thread is a value that no other write of it ever has, and not a count:
where a failover takes writes back, a count could stand for another state than the one that was read.

What has changed is told to the feed after that, and only then are the marks cleared by which the
next writer would tell it: the threads and leads that an activity has left, and the leads that a
thread has left.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bson import ObjectId
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS as RAW
from pymongo import ReplaceOne, UpdateOne

from service.activities.events import OVERLAY_FIELDS, OVERLAY_SUFFIX
from service.activities.threads import MAX_MEMBERS, Older, to_distinct, to_thread
from service.activities.types import EMAIL_THREAD
from service.bson.encoding import encode
from service.bson.fields import Fields
from service.errors import StoreUnavailable
from service.store.blame import WriteFault
from service.store.bulks import write_unordered
from service.store.feed import ChangedRows, write_feed
from service.store.ids import THREAD_SUFFIX, ThreadKey, to_key
from service.store.indexes import PRIMARY
from service.store.long_threads import Breath
from service.store.members import (
    HAS_THREAD,
    Member,
    MemberList,
    Members,
    find_by_key,
    is_overlay,
    pass_over_odd,
    to_emails,
    to_embedded_preview,
)
from service.store.members import read_members as read_members  # step 4 of this protocol
from service.store.mongo import Mongo
from service.store.oddities import decode_some
from service.store.raw import RawDocument
from service.store.writes import (
    MAX_DOCUMENT_BYTES,
    EncodedChange,
    Operation,
    Outcome,
    Written,
)

# These two bound the memory: a thread shows previews of up to 5 MiB.
MAX_THREADS_AT_ONCE = 100
MAX_ROUNDS_AT_ONCE = 4
MAX_JITTER_SECONDS = 0.05
# What a thread goes without, in this order, where its members make it larger than a document can
# be: no producer of honest mail gets here, and a dishonest one must not stop the line.
_DISPENSABLE = (
    *OVERLAY_FIELDS,
    "participants",
    "user_name",
    "updated_by_name",
    "created_by_name",
    "users",
)

_MARKED_PROJECTION = dict.fromkeys(
    [f"_meta.{name}" for name in ("revision", "thread", "left_threads", "left_leads")], 1
)
_KNOWN_PROJECTION = {"_meta.version": 1, "_meta.left_leads": 1, "lead_id": 1}

MarkFaults = dict[str, WriteFault]
Own = Mapping[ThreadKey, Sequence[EncodedChange]]
ThreadFaults = Mapping[ThreadKey, WriteFault]
Versions = Mapping[ThreadKey, "Known"]
# Of a thread's document that a hand has taken it from.
NO_VERSION = "none"
_META = Fields(["_meta"])
_KNOWN_FIELDS = Fields(["lead_id"])
_DOUBTFUL = Written(Outcome.APPLIED)


class Known(NamedTuple):
    """What was stored of a thread when its version was read, None where it has no document."""

    version: ObjectId | str | None = None
    lead_id: str | None = None
    left_leads: Sequence[str] = ()

    def leave(self, lead_id: str | None) -> list[str]:
        """The leads that it has left and that may still show it, where it goes to `lead_id`."""
        left = set(self.left_leads)
        if self.lead_id is not None and self.lead_id != lead_id:
            left.add(self.lead_id)
        return sorted(left)


class RefreshedThread(NamedTuple):
    """What a thread was written as."""

    version: ObjectId
    lead_id: str | None
    left_leads: Sequence[str]
    is_first: bool


class Refreshed(NamedTuple):
    """Threads as they were written, and why others were not."""

    written: dict[ThreadKey, RefreshedThread]
    faults: dict[ThreadKey, WriteFault]


class ThreadsRefused(StoreUnavailable):
    """MongoDB refuses threads of some changes, though all else is done. `faults` are theirs, by the
    place of the change."""

    def __init__(self, faults: Mapping[int, WriteFault]) -> None:
        super().__init__(f"MongoDB refuses a thread: {next(iter(faults.values()))}")
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stored activity has left: threads that may still count it, leads whose followers may
    still show it."""

    organization_id: str
    key: str
    revision: Any
    left_threads: list[Any]
    left_leads: list[Any]

    @property
    def threads(self) -> frozenset[ThreadKey]:
        ids = (id_ for id_ in self.left_threads if isinstance(id_, str))
        return frozenset(ThreadKey(self.organization_id, id_) for id_ in ids)


@dataclass(frozen=True, slots=True)
class Marks:
    """What to refresh, and what to clear afterwards.

    `own` are this batch's members of those threads that none of its doubtful changes names;
    `touched` the threads that these name, by the `_id` of the change.
    """

    threads: frozenset[ThreadKey]
    marks: tuple[Mark, ...]
    own: Own
    touched: Mapping[str, frozenset[ThreadKey]]

    def of(self, threads: Collection[ThreadKey]) -> "Marks":
        """What to refresh of these threads alone."""
        own = {thread: self.own[thread] for thread in threads if thread in self.own}
        return replace(self, threads=frozenset(threads), own=own)


async def refresh_threads(
    mongo: Mongo, changes: Sequence[EncodedChange], written: Sequence[Written] = ()
) -> int:
    """Recompute every thread that these changes touch, stale or not, and tell the feed what changed.

    To be called after `write_changes`, before their positions are committed: on return the threads
    are right, and they and the feed, where one is kept, durable. `written` is what that returned, in
    the same order; without it every change is read back. Calls that wait for another one's refresh are served together by the next.
    Returns how many threads this call itself has recomputed. Safe to repeat. Raises `ThreadsRefused`
    where all is done but what MongoDB refuses of single threads, else `StoreUnavailable`.
    """
    marks = await read_marks(mongo, changes, written)
    count = 0

    async def refresh(group: Sequence[Marks]) -> Refreshed:
        nonlocal count
        own = _merge_own(group)
        threads = list(frozenset().union(*(one.threads for one in group)))
        count += len(threads)
        return await _refresh_all(mongo, threads, own)

    async def refresh_long(group: Sequence[Marks]) -> Refreshed:
        async with mongo.long_threads.places:
            return await refresh(group)

    long = [thread for thread in marks.threads if thread in mongo.long_threads]
    short = marks.of(marks.threads.difference(long)) if long else marks
    lanes = [mongo.long_threads[one].run(marks.of([one]), refresh_long) for one in long]
    if short.threads:
        lanes.append(mongo.refreshes.run(short, refresh))
    refreshed = await _gather(lanes)
    if mongo.keeps_feed:
        await write_feed(mongo, to_changed_rows(changes, written, marks, refreshed))
    faults = _to_own_faults(marks, changes, refreshed.faults)
    faults |= await clear_marks(mongo, marks, refreshed)
    if faults:
        places = {change.key: place for place, change in enumerate(changes)}
        raise ThreadsRefused({places[key]: fault for key, fault in faults.items()})
    return count


async def _gather(lanes: Sequence[Coroutine[Any, Any, Refreshed]]) -> Refreshed:
    """What became of the threads of all. Each ends what it has begun, though another fails."""
    if len(lanes) == 1:
        return await lanes[0]
    refreshed = Refreshed({}, {})
    for answer in await asyncio.gather(*lanes, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        refreshed.written.update(answer.written)
        refreshed.faults.update(answer.faults)
    return refreshed


def to_changed_rows(
    changes: Sequence[EncodedChange],
    written: Sequence[Written],
    marks: Marks,
    refreshed: Refreshed,
) -> ChangedRows:
    """What the feed is told of a batch.

    A stale change is told by whoever wrote the newer one, unless this batch clears its marks.
    """
    left = {
        mark.key: [lead for lead in mark.left_leads if isinstance(lead, str)]
        for mark in marks.marks
        if mark.left_leads
    }
    rows: ChangedRows = defaultdict(list)
    for change, answer in zip(changes, written or [_DOUBTFUL] * len(changes), strict=True):
        if change.type_name == EMAIL_THREAD:
            continue  # an overlay, which is told with its thread
        leads = (change.lead_id,) if change.lead_id is not None else ()
        if left and change.key in left:
            leads = (*leads, *left[change.key])
        elif answer.outcome is Outcome.STALE:
            continue
        rows[change.organization_id].append((change.id, change.type_name, leads, answer.is_first))
    for thread in marks.threads & refreshed.written.keys():
        one = refreshed.written[thread]
        leads = (one.lead_id,) if one.lead_id is not None else ()
        leads = (*leads, *one.left_leads)
        rows[thread.organization_id].append((thread.stored_id, EMAIL_THREAD, leads, one.is_first))
    return rows


def _to_own_faults(
    marks: Marks, changes: Sequence[EncodedChange], refused: ThreadFaults
) -> dict[str, WriteFault]:
    """Of the threads refused to all who share a refresh, those that these changes touch: by the
    `_id` of a change."""
    if not refused.keys() & marks.threads:
        return {}
    faults: dict[str, WriteFault] = {}
    for change in changes:
        own = ThreadKey(change.organization_id, change.thread_id or "")
        for thread in refused.keys() & {own, *marks.touched.get(change.key, ())}:
            faults[change.key] = refused[thread]
    return faults


def _merge_own(group: Sequence[Marks]) -> Own:
    """The members written by any of these batches, of those threads that no doubtful change of any
    batch names; of an email in several batches the newest revision."""
    doubtful = {thread for marks in group for thread in marks.threads - marks.own.keys()}
    newest: dict[ThreadKey, dict[str, EncodedChange]] = defaultdict(dict)
    for marks in group:
        for thread in marks.own.keys() - doubtful:
            known = newest[thread]
            for change in marks.own[thread]:
                if change.id not in known or known[change.id].revision < change.revision:
                    known[change.id] = change
    return {thread: list(known.values()) for thread, known in newest.items()}


async def _refresh_all(mongo: Mongo, threads: Sequence[ThreadKey], own: Own) -> Refreshed:
    starts = range(0, len(threads), MAX_THREADS_AT_ONCE)
    rounds = deque(threads[start : start + MAX_THREADS_AT_ONCE] for start in starts)
    refreshed = Refreshed({}, {})

    async def work() -> None:
        while rounds:
            try:
                some = await _refresh(mongo, rounds.popleft(), own)
                refreshed.written.update(some.written)
                refreshed.faults.update(some.faults)
            except BaseException:
                rounds.clear()
                raise

    # The others end what they have begun: what is cancelled halfway loses its connection.
    works = [work() for _ in starts[:MAX_ROUNDS_AT_ONCE]]
    for fault in await asyncio.gather(*works, return_exceptions=True):
        if fault is not None:
            raise fault
    return refreshed


async def _refresh(mongo: Mongo, threads: Collection[ThreadKey], own: Own) -> Refreshed:
    refreshed = Refreshed({}, {})
    while True:
        versions = await read_versions(mongo, threads)
        new = [one for one in threads if one in own and one not in versions]
        written = {one: [Member(change.document) for change in own[one]] for one in new}
        stored = await read_members(mongo, [one for one in threads if one not in written])
        some, faults = await write_threads(mongo, versions, {**written, **stored})
        threads = [thread for thread, fault in faults.items() if fault.is_of_id]
        refused = {thread: fault for thread, fault in faults.items() if not fault.is_of_id}
        refreshed.written.update(some)
        refreshed.faults.update(refused)
        if not threads:
            return refreshed
        await asyncio.sleep(random.uniform(0, MAX_JITTER_SECONDS))  # noqa: S311 no secret


async def read_marks(
    mongo: Mongo, changes: Sequence[EncodedChange], written: Sequence[Written] = ()
) -> Marks:
    """Step 2: which threads these changes touch, as the store tells after they were written.

    What a write itself knows to have left nothing is not read: it touches its own thread alone.
    """
    own: dict[ThreadKey, list[EncodedChange]] = {}
    touched: dict[str, frozenset[ThreadKey]] = {}
    doubtful: list[EncodedChange] = []
    leaves_nothing = [answer.leaves_nothing for answer in written] or [False] * len(changes)
    for change, is_certain in zip(changes, leaves_nothing, strict=True):
        if not is_certain:
            doubtful.append(change)
        elif change.thread_id is not None:
            thread = ThreadKey(change.organization_id, change.thread_id)
            own.setdefault(thread, []).append(change)
    marks = []
    for document in await _find_marked(mongo, doubtful):
        mark = _to_mark(document)
        marks.append(mark)
        now = _to_meta(document).get("thread")
        touched[mark.key] = mark.threads
        if isinstance(now, str):
            touched[mark.key] |= {ThreadKey(mark.organization_id, now)}
    others = frozenset().union(*touched.values())
    return Marks(
        frozenset(own.keys() | others),
        tuple(mark for mark in marks if mark.left_threads or mark.left_leads),
        {thread: own[thread] for thread in own.keys() - others},
        touched,
    )


async def read_versions(mongo: Mongo, threads: Collection[ThreadKey]) -> Versions:
    """Step 3: the version of each thread of which the store knows, none where it has an overlay but
    no document; and the leads that it has and has left. Before members are read."""
    ids = {
        (thread.organization_id, stored_id): thread
        for thread in threads
        for stored_id in (thread.stored_id, thread.id + OVERLAY_SUFFIX)
    }
    by_key = {to_key(*id_): thread for id_, thread in ids.items()}
    versions: dict[ThreadKey, Known] = {}
    for document in await find_by_key(mongo, ids, _KNOWN_PROJECTION, options=RAW):
        thread = by_key[document["_id"]]
        if not document["_id"].endswith(THREAD_SUFFIX):
            versions.setdefault(thread, Known())
            continue
        some = decode_some(_KNOWN_FIELDS, bytes(document.raw))
        meta = _to_meta(document)
        left = meta.get("left_leads")
        versions[thread] = Known(
            meta.get("version", NO_VERSION),
            lead_id if isinstance(lead_id := some.get("lead_id"), str) else None,
            [lead for lead in left if isinstance(lead, str)] if isinstance(left, list) else [],
        )
    return versions


async def write_threads(mongo: Mongo, versions: Versions, members: Members) -> Refreshed:
    """Step 5: write each thread that still has its version. A fault that is of the `_id` says that
    somebody was faster."""
    version = ObjectId()
    written: dict[ThreadKey, RefreshedThread] = {}
    operations: list[Operation] = []
    breath = Breath()
    for thread, stored in members.items():
        known = versions.get(thread, Known())
        document = _to_document(thread, stored)
        lead_id = None if document is None else document["lead_id"]
        left_leads = known.leave(lead_id)
        is_first = known.version is None and document is not None
        written[thread] = RefreshedThread(version, lead_id, left_leads, is_first)
        meta = {"version": version, **({"left_leads": left_leads} if left_leads else {})}
        operations.append(_to_operation(thread, document, known, meta))
        await breath.draw()
    threads = list(members)
    by_place = await write_unordered(mongo, operations)
    faults = {threads[place]: fault for place, fault in by_place.items()}
    return Refreshed({key: one for key, one in written.items() if key not in faults}, faults)


async def clear_marks(mongo: Mongo, marks: Marks, refreshed: Refreshed) -> MarkFaults:
    """Step 7: forget the threads and leads left, now refreshed and told, of activities and threads
    that have not changed since. Those that left a refused thread remember it. Answers what MongoDB
    refuses of activities, by `_id`; what it refuses of threads is told again by the next writer."""
    cleared = [mark for mark in marks.marks if mark.threads.isdisjoint(refreshed.faults)]
    operations = [
        UpdateOne(
            {
                "_id": mark.key,
                "organization_id": mark.organization_id,
                "_meta.revision": mark.revision,
            },
            _to_clearing(mark),
            hint=PRIMARY,
        )
        for mark in cleared
    ]
    operations += [
        UpdateOne(
            {
                "_id": to_key(thread.organization_id, thread.stored_id),
                "organization_id": thread.organization_id,
                "_meta.version": refreshed.written[thread].version,
            },
            {"$unset": {"_meta.left_leads": ""}},
            hint=PRIMARY,
        )
        for thread in marks.threads & refreshed.written.keys()
        if refreshed.written[thread].left_leads
    ]
    faults = await write_unordered(mongo, operations)
    return {cleared[place].key: fault for place, fault in faults.items() if place < len(cleared)}


def _to_clearing(mark: Mark) -> list[dict[str, Any]]:
    cleared = {}
    for name, values in (("left_threads", mark.left_threads), ("left_leads", mark.left_leads)):
        # Somebody may have cleared them already.
        stored = {"$cond": [{"$isArray": f"$_meta.{name}"}, f"$_meta.{name}", []]}
        left = {"$setDifference": [stored, {"$literal": values}]}
        cleared[f"_meta.{name}"] = {"$cond": [{"$eq": [left, []]}, "$$REMOVE", left]}
    return [{"$set": cleared}]


async def _find_marked(mongo: Mongo, changes: Sequence[EncodedChange]) -> list[dict[str, Any]]:
    """Of the stored activities, whatever they are by now, those that have a thread, or have left a
    thread or a lead."""
    left = [{f"_meta.{name}": {"$exists": True}} for name in ("left_threads", "left_leads")]
    has_or_left = [HAS_THREAD, *left]
    return await find_by_key(
        mongo,
        [(change.organization_id, change.id) for change in changes],
        {"organization_id": 1, **_MARKED_PROJECTION},
        {"$or": has_or_left},
        RAW,
    )


def _to_mark(document: Mapping[str, Any]) -> Mark:
    meta = _to_meta(document)
    left = meta.get("left_threads")
    return Mark(
        document["organization_id"],
        document["_id"],
        meta.get("revision"),
        left if isinstance(left, list) else [],
        left_leads if isinstance(left_leads := meta.get("left_leads"), list) else [],
    )


def _to_meta(document: Any) -> dict[str, Any]:
    """What of ours it holds, nothing where a hand has written what cannot be read."""
    meta = decode_some(_META, bytes(document.raw)).get("_meta")
    return meta if isinstance(meta, dict) else {}


def _to_operation(
    thread: ThreadKey, document: dict[str, Any] | None, known: Known, meta: dict[str, Any]
) -> Operation:
    """To write the thread, with `meta` beside what it has of its own, where it still has the
    version known of it."""
    key = to_key(thread.organization_id, thread.stored_id)
    version = None if known.version == NO_VERSION else known.version
    guard = {"_id": key, "organization_id": thread.organization_id, "_meta.version": version}
    if document is None:
        return UpdateOne(guard, _to_empty(thread, meta), upsert=True, hint=PRIMARY)
    document["_meta"] |= meta
    fitting = _to_fitting(document)
    if known.version is None:
        return fitting
    return ReplaceOne(guard, fitting, upsert=True, hint=PRIMARY)


def _to_document(thread: ThreadKey, members: Sequence[Member]) -> dict[str, Any] | None:
    """The thread's document, but for what depends on what is stored; None without an email."""
    older = members.older if isinstance(members, MemberList) else None
    try:
        emails = to_emails(members)
        fields, contact_ids = _to_fields(emails, older)
    except (AttributeError, KeyError, TypeError):
        members = list(members)
        pass_over_odd(thread, members)
        emails = to_emails(members)
        fields, contact_ids = _to_fields(emails, older)
    if fields is None:
        return None
    overlay: Mapping[str, Any] = {}
    if len(emails) < len(members):
        overlay = next(one for one in members if is_overlay(one))
    return {
        "_id": to_key(thread.organization_id, thread.stored_id),
        "_type": EMAIL_THREAD,
        "id": thread.stored_id,
        "organization_id": thread.organization_id,
        **fields,
        **{field: overlay[field] for field in OVERLAY_FIELDS if field in overlay},
        "_meta": {"user_ids": fields["users"], "contact_ids": contact_ids},
    }


def _to_fields(
    emails: Sequence[Member], older: Older | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The derived fields of a thread, and the contacts by which it is found."""
    fields = to_thread(emails, to_embedded_preview, older)
    return fields, to_distinct(emails[:MAX_MEMBERS], "contact_id")


def _to_fitting(document: dict[str, Any]) -> RawDocument:
    encoded = encode(document)
    for name in _DISPENSABLE:
        if len(encoded) <= MAX_DOCUMENT_BYTES:
            break
        if name == "users":
            document["_meta"] |= {"user_ids": [], "contact_ids": []}
        if name in document:
            document[name] = [] if isinstance(document[name], list) else None
        encoded = encode(document)
    return RawDocument(encoded)


def _to_empty(thread: ThreadKey, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The document of a thread without members: the next writer must find a version all the same."""
    document = {
        "_id": to_key(thread.organization_id, thread.stored_id),
        "organization_id": thread.organization_id,
        "_meta": meta,
    }
    marker = {"_meta": {"$mergeObjects": ["$_meta", {"deleted_at": "$$NOW"}]}}
    return [{"$replaceWith": {"$literal": document}}, {"$set": marker}]
