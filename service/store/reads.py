"""Every question that may be asked of the activities. Each find names its index (I1) and begins
with the organization (I2)."""

from typing import Any

from service.listing.query import Fields, Page, Query
from service.store.mongo import Mongo


async def find_page(mongo: Mongo, query: Query, *, max_seconds: float) -> Page:
    """One page. Raises `StoreTimeout` and `StoreUnavailable`."""
    raise NotImplementedError


async def get_activity(
    mongo: Mongo,
    organization_id: str,
    activity_id: str,
    *,
    type_name: str | None,
    fields: Fields | None,
    max_seconds: float,
) -> dict[str, Any] | None:
    """One activity, or the thread of that id with its `emails` (contract 3.1), or None.

    Raises `StoreTimeout` and `StoreUnavailable`.
    """
    raise NotImplementedError
