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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.store.mongo import Mongo, asking

_KEY = re.compile(r"(key_[0-9a-f]{24})\.[A-Za-z0-9_-]{43}")
_BY_ID = [("_id", 1)]
_MAX_FIND_SECONDS = 5


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may ask: one organization. `revoked_at` is None while the key is in force."""

    id: str
    organization_id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None


async def create_key(mongo: Mongo, organization_id: str, name: str) -> str:
    """Make a key and answer it: the only time that anybody sees it. Raises `StoreUnavailable`."""
    key_id = f"key_{secrets.token_hex(12)}"
    key = f"{key_id}.{secrets.token_urlsafe(32)}"
    document = {
        "_id": key_id,
        "hash": _hash(key),
        "organization_id": organization_id,
        "name": name,
        "created_at": datetime.now(UTC),
        "revoked_at": None,
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
    return None if document["revoked_at"] else _to_key(document)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _to_key(document: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=document["_id"],
        organization_id=document["organization_id"],
        name=document["name"],
        created_at=document["created_at"],
        revoked_at=document["revoked_at"],
    )
