"""Emails as producers send them, and threads as the store has them, in the form of the model."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from service.activities.events import Change, parse_event
from service.store.mongo import Mongo
from service.store.writes import EncodedChange, encode_change
from tests.factories import activity, deletion, event, record
from tests.model import Model

ORGANIZATION = "orga_1"


def setting(id_: str, revision: int, *, type_name: str = "Email", **fields: Any) -> dict[str, Any]:
    """The event by which activity `id_` gets `fields`; the higher the revision, the newer."""
    fields = {"organization_id": ORGANIZATION, "id": id_, **fields}
    return event(
        activity(type_name, **fields),
        id=f"ev_{revision}",
        date_updated=f"2026-01-02T12:00:00.{revision:06d}",
        action="created" if revision == 1 else "updated",
    )


def deleting(id_: str, revision: int, *, type_name: str = "Email") -> dict[str, Any]:
    """The event by which activity `id_` is deleted."""
    return deletion(setting(id_, revision, type_name=type_name)["data"]) | {
        "id": f"ev_{revision}",
        "date_updated": f"2026-01-02T12:00:00.{revision:06d}",
    }


def to_change(event_: dict[str, Any], organization: str = ORGANIZATION) -> Change:
    """The change that the service makes of an event, here of that organization."""
    data = event_["data"] and event_["data"] | {"organization_id": organization}
    parsed = parse_event(record(event_ | {"organization_id": organization, "data": data}))
    assert isinstance(parsed, Change)
    return parsed


def newest_changes(records: Iterable[bytes | None]) -> list[Change]:
    """One batch: of each activity the newest revision among these records."""
    newest: dict[tuple[str, str], Change] = {}
    for value in records:
        change = parse_event(value)
        if isinstance(change, Change):
            key = (change.organization_id, change.id)
            if key not in newest or newest[key].revision < change.revision:
                newest[key] = change
    return list(newest.values())


def encoded(changes: Iterable[Change]) -> list[EncodedChange]:
    """As the store takes them."""
    return [encode_change(change) for change in changes]


def modelled_threads(records: Iterable[bytes | None]) -> dict[str, dict[str, Any]]:
    """What the model makes of these records: by organization, the threads by id."""
    model = Model()
    for value in records:
        model.apply(value)
    return {organization: model.threads(organization) for organization in model.organizations()}


async def stored_threads(mongo: Mongo, organization: str = ORGANIZATION) -> dict[str, Any]:
    """The threads by id, as the API shows them in a listing."""
    return (await stored_threads_of(mongo, [organization]))[organization]


async def stored_threads_of(
    mongo: Mongo, organizations: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """The threads by id of each of these organizations."""
    threads: dict[str, dict[str, Any]] = {organization: {} for organization in organizations}
    query = {"organization_id": {"$in": list(threads)}, "_type": "EmailThread"}
    async for document in mongo.activities.find(query, {"_id": 0, "_meta": 0}):
        id_ = document["id"].removesuffix("!thread")
        threads[document["organization_id"]][id_] = _shown(document | {"id": id_})
    return threads


async def marked(mongo: Mongo, organizations: Iterable[str] = (ORGANIZATION,)) -> set[str]:
    """Those of the organizations with an activity that still remembers threads it has left."""
    query = {
        "organization_id": {"$in": list(organizations)},
        "_meta.left_threads": {"$exists": True},
    }
    found = mongo.activities.find(query, {"organization_id": 1})
    return {document["organization_id"] async for document in found}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.isoformat()}+00:00"
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list) else value
