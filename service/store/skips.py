"""What an operator has decided to pass over: a damaged place of a partition, by consumer group.

Kafka lets nobody commit for a group that has members, so the decision is kept here, where the member
that cannot read on finds it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.store.mongo import Mongo, asking

# An old decision must not be found by another damage at the same offset, of a topic made again.
VALID_FOR = timedelta(days=1)
_BY_ID = [("_id", 1)]
_MAX_FIND_SECONDS = 5


async def decide_skip(mongo: Mongo, group_id: str, topic: str, partition: int, offset: int) -> None:
    """Let the group pass over what lies at this offset. Raises `StoreUnavailable`."""
    decision = {"$set": {"offset": offset, "decided_at": datetime.now(UTC)}}
    id_ = _to_id(group_id, topic, partition)
    async with asking(mongo):
        await _skips(mongo).update_one({"_id": id_}, decision, upsert=True, hint=_BY_ID)


async def is_skipped(mongo: Mongo, group_id: str, topic: str, partition: int, offset: int) -> bool:
    """Whether that was decided within the last day. Raises `StoreUnavailable`, `StoreTimeout`."""
    wanted = {
        "_id": _to_id(group_id, topic, partition),
        "offset": offset,
        "decided_at": {"$gt": datetime.now(UTC) - VALID_FOR},
    }
    async with asking(mongo):
        found = await _skips(mongo).find_one(
            wanted, hint=_BY_ID, max_time_ms=_MAX_FIND_SECONDS * 1000
        )
    return found is not None


def _skips(mongo: Mongo) -> Any:
    return mongo.activities.database["skips"]


def _to_id(group_id: str, topic: str, partition: int) -> str:
    return f"{group_id}/{topic}/{partition}"
