"""API keys (contract 3.5), of which only hashes are stored.

A key is `{id}.{secret}`: it is found by its id, and its holder can name it to an operator without
giving the secret away. The secret has 256 random bits, so that one SHA-256 guards it as well as a
slow hash would.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from service.errors import StoreError
from service.store.mongo import Mongo, asking

_KEY = re.compile(r"(key_[0-9a-f]{24})\.[A-Za-z0-9_-]{43}")
_BY_ID = [("_id", 1)]
_MAX_FIND_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may ask: one organization, at `rate` (None = the service's own). Times are naive UTC.

    `revoked_at` is None while the key is in force, `expires_at` where it ends by nothing else;
    `last_used_at` is the hour of its last use that a process has noted.
    """

    id: str
    organization_id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    rate: str | None = None
    last_used_at: datetime | None = None


async def create_key(
    mongo: Mongo,
    organization_id: str,
    name: str,
    *,
    expires_after: timedelta | None = None,
    rate: str | None = None,
) -> str:
    """Make a key and return it: the only time that anybody sees it. Raises `StoreUnavailable`."""
    now = datetime.now(UTC)
    key_id = f"key_{secrets.token_hex(12)}"
    key = f"{key_id}.{secrets.token_urlsafe(32)}"
    document = {
        "_id": key_id,
        "hash": _hash(key),
        "organization_id": organization_id,
        "name": name,
        "created_at": now,
        "revoked_at": None,
        "expires_at": now + expires_after if expires_after else None,
        "rate": rate,
    }
    async with asking(mongo):
        await mongo.api_keys.insert_one(document)
    return key


async def find_keys(mongo: Mongo) -> list[ApiKey]:
    """Every key ever made, revoked ones too, oldest first. Raises `StoreUnavailable`."""
    async with asking(mongo):
        cursor = mongo.api_keys.find({}, hint=_BY_ID)
        keys = [_to_key(document) async for document in cursor]
    return sorted(keys, key=lambda key: (key.created_at, key.id))


async def revoke_key(mongo: Mongo, key_id: str) -> bool:
    """Put a key out of force; False where there is none of that id. Raises `StoreUnavailable`."""
    if not key_id.isascii():
        return False  # an argument that is no UTF-8 cannot be sent
    first_time = {"$ifNull": ["$revoked_at", datetime.now(UTC)]}
    async with asking(mongo):
        result = await mongo.api_keys.update_one(
            {"_id": key_id}, [{"$set": {"revoked_at": first_time}}], hint=_BY_ID
        )
    return bool(result.matched_count)


async def rotate_key(mongo: Mongo, key_id: str, grace: timedelta) -> str | None:
    """Make a key like another and return it; the other one ends after `grace`, if not before.

    It is for the same organization, at the same rate, and lasts as long as the other was meant to.
    None where there is no key of that id in force. Raises `StoreUnavailable`.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    async with asking(mongo):
        document = await mongo.api_keys.find_one({"_id": key_id}, hint=_BY_ID)
    if document is None or not _is_in_force(document, now):
        return None
    old = _to_key(document)
    span = old.expires_at - old.created_at if old.expires_at else None
    key = await create_key(mongo, old.organization_id, old.name, expires_after=span, rate=old.rate)
    end = now + grace
    async with asking(mongo):
        await mongo.api_keys.update_one(
            {"_id": key_id, "$or": [{"expires_at": None}, {"expires_at": {"$gt": end}}]},
            {"$set": {"expires_at": end}},
            hint=_BY_ID,
        )
    return key


def is_key(text: str) -> bool:
    """Whether it has the form of a key: nothing else need be asked for."""
    return _KEY.fullmatch(text) is not None


async def get_key(mongo: Mongo, key: str) -> ApiKey | None:
    """The key in force that this text is, or None. Raises `StoreUnavailable`, `StoreTimeout`."""
    form = _KEY.fullmatch(key)
    if form is None:
        return None
    async with asking(mongo):
        document = await mongo.api_keys.find_one(
            {"_id": form[1]}, hint=_BY_ID, max_time_ms=_MAX_FIND_SECONDS * 1000
        )
    if document is None or not hmac.compare_digest(document["hash"], _hash(key)):
        return None
    now = datetime.now(UTC).replace(tzinfo=None)
    if not _is_in_force(document, now):
        return None
    await _note_use(mongo, document, now)
    return _to_key(document)


def _is_in_force(document: Mapping[str, Any], now: datetime) -> bool:
    expires_at = document.get("expires_at")
    return not document["revoked_at"] and (expires_at is None or now < expires_at)


async def _note_use(mongo: Mongo, document: Mapping[str, Any], now: datetime) -> None:
    """At most one write an hour and key. To answer matters more: where it cannot be written, the next
    look-up tries again."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    noted = document.get("last_used_at")
    if noted is None or noted < hour:
        with suppress(StoreError):
            async with asking(mongo):
                await mongo.api_keys.update_one(
                    {"_id": document["_id"]}, {"$max": {"last_used_at": hour}}, hint=_BY_ID
                )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _to_key(document: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=document["_id"],
        organization_id=document["organization_id"],
        name=document["name"],
        created_at=document["created_at"],
        revoked_at=document["revoked_at"],
        # Keys of the first versions have none of these.
        expires_at=document.get("expires_at"),
        rate=document.get("rate"),
        last_used_at=document.get("last_used_at"),
    )
