"""Records that are written together."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import ConsumerRecord

from consumers.fuse import Judged
from consumers.positions import Span
from consumers.records import is_long, is_replayed, parse_record, to_size
from service.activities.events import Ignored
from service.errors import Rejected
from service.store.writes import EncodedChange, Outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full. One record more than its bytes is allowed, or none would fit."""

    max_records: int
    max_bytes: int
    max_record_bytes: int


class Entry(NamedTuple):
    """A change and the record that brought it; `number` is its place in the batch."""

    number: int
    record: ConsumerRecord
    change: EncodedChange


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that can never be applied, and why."""

    number: int
    record: ConsumerRecord
    rejected: Rejected


@dataclass(slots=True)
class Batch:
    """Records of any partitions, with the positions that become durable with them.

    Of each activity only the newest revision is to be written; the older ones stand behind it,
    should MongoDB refuse its document.
    """

    limits: BatchLimits
    opened: float = 0.0
    bytes: int = 0
    size: int = 0
    ignored: list[ConsumerRecord] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    is_set_apart: bool = False
    spans: list[Span] = field(default_factory=list)
    _judged: list[tuple[int, str | None]] = field(default_factory=list)
    _revisions: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.size >= self.limits.max_records or self.bytes >= self.limits.max_bytes

    def fill(
        self, records: Sequence[ConsumerRecord], start: int, turn_seconds: float = math.inf
    ) -> int:
        """Parse and take records from `start` on until the batch is full, the turn is over, or a
        record is long and not the first; answers the place of the next."""
        end = time.monotonic() + turn_seconds
        for place in range(start, len(records)):
            record = records[place]
            if self.is_full or (place > start and (is_long(record) or time.monotonic() > end)):
                return place
            self.take(record, self.parse(record))
        return len(records)

    def parse(self, record: ConsumerRecord) -> EncodedChange | Ignored | Rejected:
        """What becomes of a record. A defect of ours is told with its place, and raised."""
        try:
            return parse_record(record, self.limits.max_record_bytes)
        except Exception:
            position = (record.topic, record.partition, record.offset)
            logger.error("a defect while parsing %s, partition %d, offset %d", *position)
            raise

    def take(self, record: ConsumerRecord, outcome: EncodedChange | Ignored | Rejected) -> None:
        """Take one record, of which this has become."""
        if not self.size:
            self.opened = time.monotonic()
        number = self.size
        self.size += 1
        self.bytes += to_size(record)
        organization_id = None
        if isinstance(outcome, EncodedChange):
            organization_id = outcome.organization_id
            self._add(Entry(number, record, outcome))
        elif isinstance(outcome, Rejected):
            self.refusals.append(Refusal(number, record, outcome))
            if outcome.code == "unknown_type":
                return
        else:
            self.ignored.append(record)
            return
        if not is_replayed(record):
            self._judged.append((number, organization_id))

    def newest(self) -> list[Entry]:
        """The newest revision of each activity."""
        return [revisions[-1] for revisions in self._revisions.values()]

    def set_aside(self, entry: Entry, rejected: Rejected) -> None:
        """Its record becomes a dead letter."""
        self.refusals.append(Refusal(entry.number, entry.record, rejected))

    def give_way(self, entry: Entry, rejected: Rejected) -> Entry | None:
        """Set a refused change aside; answers the next older revision of its activity, if any."""
        self.set_aside(entry, rejected)
        revisions = self._revisions[_key(entry.change)]
        revisions.remove(entry)
        return revisions[-1] if revisions else None

    def set_apart(self, waiting: Iterable[Entry]) -> list[tuple[Entry, Outcome]]:
        """MongoDB refuses these alone: until it takes them the batch holds up no other. Forgets all
        else that is worked off, and answers the changes that were overtaken in it."""
        self.is_set_apart = True
        kept = {_key(entry.change) for entry in waiting}
        revisions, self._revisions = self._revisions, {}
        for key, entries in revisions.items():
            if key in kept:
                self._revisions[key] = entries
        overtaken = [pair for pair in _overtaken(revisions) if _key(pair[0].change) not in kept]
        held = [entry.record for entries in self._revisions.values() for entry in entries]
        held += [refusal.record for refusal in self.refusals]
        self.bytes = sum(len(record.value or b"") for record in held)
        return overtaken

    def overtaken(self) -> Iterator[tuple[Entry, Outcome]]:
        """The changes behind the newest of their activity: older ones, or that very one again."""
        return _overtaken(self._revisions)

    def judged(self) -> list[Judged]:
        """For the fuse: each record that counts there, in order. Ignored, `unknown_type` and replayed
        records count nowhere (contract 1.6)."""
        dead = {refusal.number: refusal.rejected.organization_id for refusal in self.refusals}
        return [
            Judged(number in dead, dead.get(number, organization_id))
            for number, organization_id in self._judged
        ]

    def _add(self, entry: Entry) -> None:
        revisions = self._revisions.setdefault(_key(entry.change), [])
        revisions.append(entry)
        if len(revisions) > 1:
            revisions.sort(key=_revision)


def _overtaken(
    activities: Mapping[tuple[str, str], list[Entry]],
) -> Iterator[tuple[Entry, Outcome]]:
    overtaken = [revisions for revisions in activities.values() if len(revisions) > 1]
    for *others, newest in overtaken:
        for entry in others:
            is_same = entry.change.revision == newest.change.revision
            yield entry, Outcome.DUPLICATE if is_same else Outcome.STALE


def _key(change: EncodedChange) -> tuple[str, str]:
    return change.organization_id, change.id


def _revision(entry: Entry) -> str:
    return entry.change.revision
