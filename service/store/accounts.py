"""What the store can say of one activity, for whoever asks what became of an event."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from service.activities.events import OVERLAY_SUFFIX
from service.store.ids import THREAD_SUFFIX, to_key
from service.store.indexes import PRIMARY
from service.store.mongo import Mongo, asking

_FIELDS = (
    "id",
    "_type",
    "lead_id",
    "n_emails",
    "_meta.revision",
    "_meta.thread",
    "_meta.deleted_at",
)


class Account(NamedTuple):
    """A document: an activity's, a thread's, what is laid over a thread, or a delete marker.

    `stored_id` is as in the table of `ids`; `revision` is None on threads, `deleted_at` is when the
    marker was written, None on all others.
    """

    stored_id: str
    type_name: str | None
    lead_id: str | None
    thread_id: str | None
    revision: str | None
    deleted_at: datetime | None
    n_emails: int | None


async def find_accounts(mongo: Mongo, organization_id: str, id_: str) -> list[Account]:
    """All that is stored under an id, as a majority holds it: the activity, what is laid over the
    thread of that id, the thread. Raises `StoreError`."""
    ids = [id_, id_ + OVERLAY_SUFFIX, id_ + THREAD_SUFFIX]
    durable = mongo.activities.with_options(
        read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
    )
    query = {
        "organization_id": organization_id,
        "_id": {"$in": [to_key(organization_id, one) for one in ids]},
    }
    async with asking(mongo):
        found = durable.find(query, dict.fromkeys(_FIELDS, 1), hint=PRIMARY)
        documents = {document["_id"]: document async for document in found}
    keys = [(one, to_key(organization_id, one)) for one in ids]
    return [_to_account(one, documents[key]) for one, key in keys if key in documents]


def _to_account(stored_id: str, document: dict[str, Any]) -> Account:
    meta = document.get("_meta", {})
    deleted_at = meta.get("deleted_at")
    return Account(
        stored_id,
        document.get("_type"),
        document.get("lead_id"),
        meta.get("thread"),
        meta.get("revision"),
        deleted_at.replace(tzinfo=UTC) if deleted_at else None,
        document.get("n_emails"),
    )
