"""Guarded writes: a write can only ever raise an activity's revision (I3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.activities.events import Change
from service.store.mongo import Mongo


class Outcome(StrEnum):
    """What became of one change."""

    APPLIED = "applied"
    STALE = "stale"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one change; `reason` and `is_too_large` say why MongoDB refused a document."""

    outcome: Outcome
    reason: str = ""
    is_too_large: bool = False


async def write_changes(mongo: Mongo, changes: Sequence[Change]) -> list[Written]:
    """Write changes of distinct activities; the answers stand in their order.

    On return every APPLIED change is durable (majority). UNCONFIRMED ones may or may not have been
    written and are to be repeated; one refused document never fails its neighbours.
    Raises `StoreUnavailable` when nothing is known of any of them.
    """
    raise NotImplementedError
