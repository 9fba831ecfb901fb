"""The members of a thread, as far as the thread shows them (design 5, step 4).

A thread shows a third of each email: that alone is read, and of the newest ones a little more.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from bson import CodecOptions, DatetimeConversion, decode
from bson.errors import BSONError
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS as RAW
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference

from service.activities.events import OVERLAY_FIELDS, OVERLAY_SUFFIX
from service.activities.threads import (
    LATEST_FIELDS,
    MAX_LATEST_EMAILS,
    MAX_MEMBERS,
    MEMBER_FIELDS,
    PREVIEW_LISTS,
    PREVIEW_VALUES,
    Older,
    has_attachments,
    newest_first,
)
from service.bson.encoding import EmbeddedDocument, encode
from service.bson.fields import Fields
from service.store.ids import ThreadKey, to_key
from service.store.indexes import PRIMARY, THREAD_MEMBERS
from service.store.long_threads import Breath
from service.store.mongo import Mongo, asking
from service.store.oddities import is_email, note_unreadable

# Documents of one reply: left to itself, MongoDB sends 101, and all others when asked once more.
MAX_READ_AT_ONCE = 10_000

_MEMBER_PROJECTION = {"_id": 0, "organization_id": 1, "_meta.thread": 1} | dict.fromkeys(
    sorted(MEMBER_FIELDS | set(OVERLAY_FIELDS)), 1
)
HAS_THREAD: Mapping[str, Any] = MappingProxyType({"_meta.thread": {"$exists": True}})
_LATEST_PROJECTION = dict.fromkeys(sorted(LATEST_FIELDS), 1) | {"attachments": {"$slice": 1}}
_MEMBERS_A_BREATH = 100
# Before the oldest email may stand the overlay, which has no time, and what a hand has written.
_MAX_PASSED = 10
_LENIENT = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO)
_ORDER = {"organization_id": 1, "_meta.thread": 1, "activity_at": -1, "id": -1}
_REVERSE_ORDER = {"organization_id": -1, "_meta.thread": -1, "activity_at": 1, "id": 1}
_READ_FIELDS = Fields(
    MEMBER_FIELDS
    | {"_id", "_meta", "attachments", "lead_id", "organization_id", "subject", *OVERLAY_FIELDS}
)
_PREVIEW_FIELDS = Fields([*PREVIEW_VALUES, *PREVIEW_LISTS], lists=PREVIEW_LISTS)
_HAS_ATTACHMENTS = encode({"has_attachments": True})
_HAS_NO_ATTACHMENTS = encode({"has_attachments": False})

Members = Mapping[ThreadKey, Sequence["Member"]]

# What is read at once: a reply of some megabytes, and some twenty milliseconds of this process.
MAX_READ_MEMBERS = 2 * MAX_MEMBERS + 2


class Member(dict[str, Any]):
    """What a thread is computed from of an email or overlay; previews are copied from `document`, the
    BSON it was read from."""

    __slots__ = ("document",)

    def __init__(self, document: bytes) -> None:
        _READ_FIELDS.decode(document, self)
        self.document = document

    def complete(self, newest: "Member") -> None:
        """Take over what was read of it with more fields."""
        self.update(newest)
        self.document = newest.document


class MemberList(list[Member]):
    """The members of one thread. Of one that is longer than it shows they are the newest, with what
    is known of the `older` ones."""

    older: Older | None = None


async def read_members(mongo: Mongo, threads: Collection[ThreadKey]) -> dict[ThreadKey, MemberList]:
    """Step 4: emails and overlay of each thread, without bodies; the newest ones complete.

    Threads are read in the order of the index, so many documents at a time: the last thread of a
    reply may be cut off, and is read again unless it is longer than it shows. From then on each
    organization is read by itself: two may each have a thread of one id, and only one be asked for.
    """
    members = {thread: MemberList() for thread in threads}
    left, last = sorted(members), None
    while left:
        some = left if last is None else [one for one in left if one[0] == left[0][0]]
        found, last = await _read_some(mongo, some)
        # The first fills the reply, and so is long, even where much of it cannot be read.
        if last is not None and last != some[0] and len(found[last]) <= MAX_MEMBERS:
            del found[last]
        read = [thread for thread in some if last is None or thread < last or thread in found]
        for thread in read:
            members[thread] += found.get(thread, ())
            mongo.long_threads.note(thread, len(members[thread]))
            # An overlay is no email.
            if thread == last or len(members[thread]) > MAX_MEMBERS + 1:
                await _cut(mongo, thread, members[thread])
        last = last or (read[-1] if len(some) < len(left) else None)
        left = left[len(read) :]
    await _complete_latest(mongo, members)
    return members


async def _read_some(
    mongo: Mongo, threads: Sequence[ThreadKey]
) -> tuple[dict[ThreadKey, list[Member]], ThreadKey | None]:
    """The first members of these threads in their order; and the thread at which that ended, if it
    did. One that is long has `MAX_MEMBERS` and two more."""
    query = {
        "organization_id": {"$in": sorted({thread.organization_id for thread in threads})},
        "_meta.thread": {"$in": sorted({thread.id for thread in threads})},
    }
    limit = MAX_READ_MEMBERS if len(threads) > 1 else MAX_MEMBERS + 2
    found: dict[ThreadKey, list[Member]] = {}
    async with asking(mongo):
        cursor = _primary(mongo, RAW).find(
            query,
            _MEMBER_PROJECTION,
            sort=_ORDER,
            hint=THREAD_MEMBERS,
            limit=limit,
            batch_size=limit + 1,
        )
        documents = await cursor.to_list(None)
    thread, breath = None, Breath()
    for place, document in enumerate(documents):
        if place % _MEMBERS_A_BREATH == 0:
            await breath.draw()
        try:
            member: dict[str, Any] = Member(bytes(document.raw))
        except (BSONError, ValueError, OverflowError):
            member = _pass_over_undecoded(document)
        key = ThreadKey(member.pop("organization_id"), member.pop("_meta")["thread"])
        if not isinstance(key.id, str):  # a hand may have written a list of them
            continue
        thread, of_thread = key, found.setdefault(key, [])
        if isinstance(member, Member):
            of_thread.append(member)
    return found, thread if len(documents) == limit else None


def _pass_over_undecoded(document: RawBSONDocument) -> dict[str, Any]:
    """One with a value that Python does not know: decoded as far as it can be."""
    found = decode(document.raw, _LENIENT)
    note_unreadable(str(found.get("organization_id")), str(found.get("id")))
    return found


def pass_over_odd(thread: ThreadKey, members: list[Member]) -> None:
    """Leave only what can be read; cheap enough for what hardly ever is."""
    for member in [one for one in members if not (_is_overlay_id(one.get("id")) or is_email(one))]:
        members.remove(member)
        note_unreadable(thread.organization_id, member.get("id"))


def _is_overlay_id(id_: object) -> bool:
    return isinstance(id_, str) and id_.endswith(OVERLAY_SUFFIX)


async def _cut(mongo: Mongo, thread: ThreadKey, members: MemberList) -> None:
    """Leave the newest, and find out what there is to know of the older ones."""
    key = {"organization_id": thread.organization_id, "_meta.thread": thread.id}
    overlay_key = (thread.organization_id, thread.id + OVERLAY_SUFFIX)
    overlays = await find_by_key(mongo, [overlay_key], _MEMBER_PROJECTION, HAS_THREAD, RAW)
    async with asking(mongo):
        collection = _primary(mongo, RAW)
        count = await collection.count_documents(key, hint=THREAD_MEMBERS)
        cursor = collection.find(
            key, _MEMBER_PROJECTION, sort=_REVERSE_ORDER, hint=THREAD_MEMBERS, limit=_MAX_PASSED
        )
        first = _to_members(await cursor.to_list(None))
    members[:] = [one for one in members if not _is_overlay_id(one.get("id"))][:MAX_MEMBERS]
    oldest = next((one for one in first if is_email(one)), members[-1] if members else {})
    members.older = Older(count - len(overlays) - len(members), oldest)
    members += _to_members(overlays)


def _to_members(documents: Iterable[RawBSONDocument]) -> list[Member]:
    """Those that can be read."""
    members = []
    for document in documents:
        with suppress(BSONError, ValueError, OverflowError):
            members.append(Member(bytes(document.raw)))
    return members


async def _complete_latest(mongo: Mongo, members: Mapping[ThreadKey, MemberList]) -> None:
    """Give the newest emails of each thread what they alone have to show.

    One that is none any more, since the members were read, goes without: whoever made it something
    else refreshes the thread.
    """
    latest: dict[str, tuple[str, Member]] = {}
    for thread, stored in members.items():
        try:
            emails = to_emails(stored)
        except (AttributeError, KeyError, TypeError):
            pass_over_odd(thread, stored)
            emails = to_emails(stored)
        for email in emails[:MAX_LATEST_EMAILS]:
            key = to_key(thread.organization_id, email["id"])
            latest[key] = (thread.organization_id, email)
    keys = [(organization_id, email["id"]) for organization_id, email in latest.values()]
    for document in await find_by_key(mongo, keys, _LATEST_PROJECTION, HAS_THREAD, RAW):
        try:
            newest = Member(bytes(document.raw))
        except (BSONError, ValueError, OverflowError):
            _pass_over_undecoded(document)
            continue
        latest[newest.pop("_id")][1].complete(newest)


async def find_by_key(
    mongo: Mongo,
    keys: Collection[tuple[str, str]],
    projection: Mapping[str, Any],
    condition: Mapping[str, Any] | None = None,
    options: CodecOptions[Any] | None = None,
) -> list[Any]:
    """Documents by organization and stored id: one find, whatever the organizations."""
    if not keys:
        return []
    query = {
        "organization_id": {"$in": sorted({organization_id for organization_id, _ in keys})},
        "_id": {"$in": [to_key(*key) for key in keys]},
        **(condition or {}),
    }
    async with asking(mongo):
        cursor = _primary(mongo, options).find(
            query, projection, hint=PRIMARY, batch_size=MAX_READ_AT_ONCE
        )
        documents: list[Any] = await cursor.to_list(None)
    return documents


def _primary(mongo: Mongo, options: CodecOptions[Any] | None = None) -> Any:
    """Who lags behind does not know what was just written, whatever the connection string allows."""
    return mongo.activities.with_options(options, ReadPreference.PRIMARY)


def to_emails(members: Iterable[Member]) -> list[Member]:
    return newest_first([one for one in members if not is_overlay(one)])


def is_overlay(member: Member) -> bool:
    stored_id: str = member["id"]
    return stored_id.endswith(OVERLAY_SUFFIX)


def to_embedded_preview(email: Member) -> EmbeddedDocument:
    more = _HAS_ATTACHMENTS if has_attachments(email) else _HAS_NO_ATTACHMENTS
    return EmbeddedDocument(_PREVIEW_FIELDS.copy(email.document, more))
