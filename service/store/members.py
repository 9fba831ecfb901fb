"""The members of a thread, as far as the thread shows them (design 5, step 4).

A thread shows a third of each email: that alone is read, and of the newest ones a little more.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bson import CodecOptions
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS as _RAW
from pymongo import ReadPreference

from service.activities.events import OVERLAY_FIELDS, OVERLAY_SUFFIX
from service.activities.threads import (
    LATEST_FIELDS,
    MAX_LATEST_EMAILS,
    MEMBER_FIELDS,
    PREVIEW_LISTS,
    PREVIEW_VALUES,
    has_attachments,
    newest_first,
)
from service.bson.encoding import EmbeddedDocument, encode
from service.bson.fields import Fields
from service.store.ids import ThreadKey, to_key
from service.store.indexes import PRIMARY, THREAD_MEMBERS
from service.store.mongo import Mongo, asking

# Documents of one reply: left to itself, MongoDB sends 101, and all others when asked once more.
MAX_READ_AT_ONCE = 10_000

_MEMBER_PROJECTION = {"_id": 0, "organization_id": 1, "_meta.thread": 1} | dict.fromkeys(
    sorted(MEMBER_FIELDS | set(OVERLAY_FIELDS)), 1
)
HAS_THREAD: Mapping[str, Any] = MappingProxyType({"_meta.thread": {"$exists": True}})
_LATEST_PROJECTION = dict.fromkeys(sorted(LATEST_FIELDS), 1) | {"attachments": {"$slice": 1}}
_READ_FIELDS = Fields(
    MEMBER_FIELDS
    | {"_id", "_meta", "attachments", "lead_id", "organization_id", "subject", *OVERLAY_FIELDS}
)
_PREVIEW_FIELDS = Fields([*PREVIEW_VALUES, *PREVIEW_LISTS], lists=PREVIEW_LISTS)
_HAS_ATTACHMENTS = encode({"has_attachments": True})
_HAS_NO_ATTACHMENTS = encode({"has_attachments": False})

Members = Mapping[ThreadKey, Sequence["Member"]]


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


async def read_members(mongo: Mongo, threads: Collection[ThreadKey]) -> Members:
    """Step 4: emails and overlay of each thread, without bodies; the newest ones complete."""
    members: dict[ThreadKey, list[Member]] = {thread: [] for thread in threads}
    if not members:
        return members
    query = {
        "organization_id": {"$in": sorted({thread.organization_id for thread in threads})},
        "_meta.thread": {"$in": sorted({thread.id for thread in threads})},
    }
    async with asking(mongo):
        cursor = _primary(mongo, _RAW).find(
            query, _MEMBER_PROJECTION, hint=THREAD_MEMBERS, batch_size=MAX_READ_AT_ONCE
        )
        for document in await cursor.to_list(None):
            member = Member(bytes(document.raw))
            # Two organizations may each have a thread of one id: only those asked for.
            thread = ThreadKey(member.pop("organization_id"), member.pop("_meta")["thread"])
            if thread in members:
                members[thread].append(member)
    await _complete_latest(mongo, members)
    return members


async def _complete_latest(mongo: Mongo, members: Members) -> None:
    """Give the newest emails of each thread what they alone have to show.

    One that is none any more, since the members were read, goes without: whoever made it something
    else refreshes the thread.
    """
    latest = {
        to_key(thread.organization_id, email["id"]): (thread.organization_id, email)
        for thread, stored in members.items()
        for email in to_emails(stored)[:MAX_LATEST_EMAILS]
    }
    keys = [(organization_id, email["id"]) for organization_id, email in latest.values()]
    for document in await find_by_key(mongo, keys, _LATEST_PROJECTION, HAS_THREAD, _RAW):
        newest = Member(bytes(document.raw))
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
