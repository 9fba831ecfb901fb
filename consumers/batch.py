"""Records that are written together."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import ConsumerRecord

from consumers.positions import Span
from consumers.records import is_replayed, parse_record
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
    _judged: list[int] = field(default_factory=list)
    _revisions: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.size >= self.limits.max_records or self.bytes >= self.limits.max_bytes

    def fill(self, records: Sequence[ConsumerRecord], start: int) -> int:
        """Take records from `start` on until the batch is full; answers the place of the next."""
        if not self.size:
            self.opened = time.monotonic()
        for place in range(start, len(records)):
            if self.is_full:
                return place
            self._take(records[place])
        return len(records)

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

    def judged(self) -> list[bool]:
        """For the fuse: whether it is a dead letter, of each record that counts there, in order.
        Ignored, `unknown_type` and replayed records count nowhere (contract 1.6)."""
        dead = {refusal.number for refusal in self.refusals}
        return [number in dead for number in self._judged]

    def _take(self, record: ConsumerRecord) -> None:
        number = self.size
        self.size += 1
        self.bytes += len(record.value or b"")
        try:
            outcome = parse_record(record, self.limits.max_record_bytes)
        except Exception:
            position = (record.topic, record.partition, record.offset)
            logger.error("a defect while parsing %s, partition %d, offset %d", *position)
            raise
        if isinstance(outcome, EncodedChange):
            self._add(Entry(number, record, outcome))
        elif isinstance(outcome, Rejected):
            self.refusals.append(Refusal(number, record, outcome))
            if outcome.code == "unknown_type":
                return
        else:
            self.ignored.append(record)
            return
        if not is_replayed(record):
            self._judged.append(number)

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
