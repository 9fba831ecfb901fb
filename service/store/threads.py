"""Threads kept right by whoever writes, in whatever order (design 5)."""

from collections.abc import Sequence

from service.activities.events import Change
from service.store.mongo import Mongo


async def refresh_threads(mongo: Mongo, changes: Sequence[Change]) -> int:
    """Recompute every thread that these changes touch, stale or not; answer how many.

    To be called after `write_changes`, before their positions are committed: on return the threads
    are right and durable. Safe to repeat. Raises `StoreUnavailable`.
    """
    raise NotImplementedError
