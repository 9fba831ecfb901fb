"""The indexes, as one table. Every find names the one that serves it (I1), by the names here."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from service.errors import StartError
from service.settings import RetentionSettings
from service.store.mongo import Mongo, asking

logger = logging.getLogger(__name__)

PRIMARY = "_id_"
"""MongoDB's own index over `_id`."""

LEAD_ACTIVITY_AT = "lead_activity_at"
LEAD_DATE_CREATED = "lead_date_created"
ORGANIZATION_DATE_CREATED = "organization_date_created"
THREAD_MEMBERS = "thread_members"
OPPORTUNITY = "opportunity"
FORM = "form"
EXTERNAL_WHATSAPP_MESSAGE = "external_whatsapp_message"
EXPIRY = "expiry"
FEED_EXPIRY = "feed_expiry"

_VALUE_PLACE = 2  # behind the organization and the type
_SECONDS_A_DAY = 86_400
_SECONDS_AN_HOUR = 3600
_NAMESPACE_NOT_FOUND = 26
_NAMESPACE_EXISTS = 48
_INDEX_OPTIONS_CONFLICT = 85
_INDEX_KEY_SPECS_CONFLICT = 86


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """One index: `keys` in their order, 1 or -1 each, and which documents it holds (None = all)."""

    name: str
    keys: tuple[tuple[str, Literal[1, -1]], ...]
    only: Mapping[str, Any] | None = None
    expires: bool = False

    def to_model(self, expire_after_seconds: int) -> IndexModel:
        options: dict[str, Any] = {}
        if self.only is not None:
            options["partialFilterExpression"] = self.only
        if self.expires:
            options["expireAfterSeconds"] = expire_after_seconds
        return IndexModel(list(self.keys), name=self.name, **options)

    @property
    def value_field(self) -> str | None:
        """The field whose values it finds in the rows of one type, where that is what it is for."""
        is_of_one_type = self.only is not None and "_type" in self.only
        return self.keys[_VALUE_PLACE][0] if is_of_one_type else None

    def difference(self, found: Mapping[str, Any] | None) -> str | None:
        """What is wrong with the index document that the server shows under this name, or None.

        The days of an expiring one are no difference: they are a setting of whoever writes.
        """
        if found is None:
            return f"index {self.name} is missing"
        same = (
            list(found["key"].items()) == list(self.keys)
            and found.get("partialFilterExpression") == self.only
            and ("expireAfterSeconds" in found) == self.expires
            and not found.keys() & {"sparse", "hidden", "collation"}
        )
        return None if same else f"index {self.name} is not as it must be"


INDEXES: tuple[IndexDefinition, ...] = (
    IndexDefinition(
        LEAD_ACTIVITY_AT,
        (("organization_id", 1), ("lead_id", 1), ("_type", 1), ("activity_at", -1), ("id", -1)),
    ),
    IndexDefinition(
        LEAD_DATE_CREATED,
        (("organization_id", 1), ("lead_id", 1), ("_type", 1), ("date_created", -1), ("id", -1)),
    ),
    IndexDefinition(
        ORGANIZATION_DATE_CREATED,
        (("organization_id", 1), ("_type", 1), ("date_created", -1), ("id", -1)),
    ),
    IndexDefinition(
        THREAD_MEMBERS,
        (("organization_id", 1), ("_meta.thread", 1), ("activity_at", -1), ("id", -1)),
        only={"_meta.thread": {"$exists": True}},
    ),
    IndexDefinition(
        OPPORTUNITY,
        (
            ("organization_id", 1),
            ("_type", 1),
            ("opportunity_id", 1),
            ("date_created", -1),
            ("id", -1),
        ),
        only={"_type": "OpportunityStatusChange"},
    ),
    IndexDefinition(
        FORM,
        (("organization_id", 1), ("_type", 1), ("form_id", 1), ("date_created", -1), ("id", -1)),
        only={"_type": "FormSubmission"},
    ),
    IndexDefinition(
        EXTERNAL_WHATSAPP_MESSAGE,
        (
            ("organization_id", 1),
            ("_type", 1),
            ("external_whatsapp_message_id", 1),
            ("date_created", -1),
            ("id", -1),
        ),
        only={"_type": "WhatsAppMessage"},
    ),
    IndexDefinition(
        EXPIRY,
        (("_meta.deleted_at", 1),),
        only={"_meta.deleted_at": {"$exists": True}},
        expires=True,
    ),
)


FEED_INDEXES: tuple[IndexDefinition, ...] = (
    IndexDefinition(FEED_EXPIRY, (("written_at", 1),), expires=True),
)


def index_of_value(field: str) -> str | None:
    """The name of the index that finds rows by a value of this field without a lead, if one does."""
    return next((index.name for index in INDEXES if index.value_field == field), None)


async def ensure_indexes(mongo: Mongo, retention: RetentionSettings) -> None:
    """Create what is missing and wait for it; safe to repeat, also at the same time elsewhere.

    Changes the time that delete markers and the feed are kept, in place. Of a feed that is not kept
    nothing is created. Raises `StartError` where an index of ours exists in another shape (dropping
    it is an operator's decision), and `StoreUnavailable`.
    """
    days, hours = retention.tombstone_days, retention.feed_hours
    async with asking(mongo):
        await _ensure(mongo.activities, INDEXES, days * _SECONDS_A_DAY)
        if retention.keeps_feed:
            await _ensure(mongo.feed, FEED_INDEXES, int(hours * _SECONDS_AN_HOUR))


async def _create_collection(collection: Any) -> None:
    """Compressed by zstd: 0.63 of the disk that the server's default takes, at the same speed.

    Where the server does not take it, what follows creates the collection as the server likes.
    """
    engine = {"wiredTiger": {"configString": "block_compressor=zstd"}}
    try:
        await collection.database.command("create", collection.name, storageEngine=engine)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            logger.info("MongoDB does not compress by zstd", extra={"code": error.code})


async def check_indexes(mongo: Mongo) -> list[str]:
    """What is missing or different, one text an index; empty when all are there and built.

    Raises `StoreUnavailable`.
    """
    wanted = [(mongo.activities, INDEXES)]
    if mongo.keeps_feed:
        wanted.append((mongo.feed, FEED_INDEXES))
    texts = list[str]()
    async with asking(mongo):
        for collection, indexes in wanted:
            found = await _find_indexes(collection)
            differences = (index.difference(found.get(index.name)) for index in indexes)
            texts += filter(None, differences)
    return texts


async def check_expiry(mongo: Mongo, retention: RetentionSettings) -> str | None:
    """What is wrong with the days after which delete markers expire, or None.

    Raises `StoreUnavailable`.
    """
    async with asking(mongo):
        found = await _find_indexes(mongo.activities)
    seconds = found.get(EXPIRY, {}).get("expireAfterSeconds")
    if seconds in (None, retention.tombstone_days * _SECONDS_A_DAY):
        return None
    return (
        f"delete markers expire after {seconds / _SECONDS_A_DAY:g} days, and"
        f" ACTIVITY_TOMBSTONE_DAYS is {retention.tombstone_days}"
    )


async def _ensure(
    collection: Any, indexes: Sequence[IndexDefinition], expire_after_seconds: int
) -> None:
    found = await _find_indexes(collection)
    if not found:
        await _create_collection(collection)
    for index in indexes:
        if index.expires:
            await _change_expiry(collection, found.get(index.name), expire_after_seconds)
    try:
        await collection.create_indexes([index.to_model(expire_after_seconds) for index in indexes])
    except OperationFailure as error:
        if error.code not in (_INDEX_OPTIONS_CONFLICT, _INDEX_KEY_SPECS_CONFLICT):
            raise
        text = _differences(indexes, found)
        raise StartError(f"{text}: drop it and run this again") from error


async def _change_expiry(
    collection: Any, found: Mapping[str, Any] | None, expire_after_seconds: int
) -> None:
    if found is None or found.get("expireAfterSeconds") in (None, expire_after_seconds):
        return
    await collection.database.command(
        "collMod",
        collection.name,
        index={"name": found["name"], "expireAfterSeconds": expire_after_seconds},
    )


async def _find_indexes(collection: Any) -> dict[str, Mapping[str, Any]]:
    """The finished indexes by name: a `hint` to one that is still being built is refused."""
    try:
        answer = await collection.database.command(
            "listIndexes", collection.name, includeBuildUUIDs=True
        )
    except OperationFailure as error:
        if error.code != _NAMESPACE_NOT_FOUND:
            raise
        return {}
    listed: Sequence[Mapping[str, Any]] = answer["cursor"]["firstBatch"]
    return {index["name"]: index for index in listed if "buildUUID" not in index}


def _differences(indexes: Sequence[IndexDefinition], found: Mapping[str, Mapping[str, Any]]) -> str:
    texts = (index.difference(found[index.name]) for index in indexes if index.name in found)
    return ", ".join(filter(None, texts)) or "another index has the keys of one of ours"
