"""An event, as a producer published it, to a change of one activity (contract 1.2 to 1.4)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """A valid event, ready to apply: it sets one activity or deletes it.

    `id` is the stored id (design 3): the activity's own, or an overlay's with `!overlay` behind it.
    `revision` is `"{microseconds since year 1:020d}/{event id}"`; of two changes of one activity
    the higher string wins, whatever came first.
    `activity` holds the activity's own fields, filled as contract 1.3 says, known date-times as
    naive UTC `datetime`s cut to milliseconds; None deletes.
    `thread_id` is the thread of an email or an overlay, given or derived (contract 2), else None.
    `is_new` is true when the event says that it created the activity: an insert is worth trying.
    `deviations` names the known fields that were kept although they are not of their type.
    """

    organization_id: str
    id: str
    event_id: str
    revision: str
    activity: dict[str, Any] | None
    thread_id: str | None
    is_new: bool
    deviations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that is no activity event: counted, nothing else."""


IGNORED = Ignored()


def parse_event(value: bytes | None) -> Change | Ignored:
    """Parse the value of one record.

    Raises `Rejected` with the first code that applies (contract 1.6). The size of the record is
    the caller's business.
    """
    raise NotImplementedError
