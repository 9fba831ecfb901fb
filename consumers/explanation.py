"""What became of an activity or an event: what the store, the topics and the dead letters know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

from consumers.dead_letters import (
    CODE_HEADER,
    EVENT_HEADER,
    OFFSET_HEADER,
    ORGANIZATION_HEADER,
    PARTITION_HEADER,
    TOPIC_HEADER,
    to_text,
)
from consumers.history import Offsets, find_committed, find_partitions, read_since, reading
from consumers.records import parse_value
from service.activities.events import Ignored, decode_event
from service.errors import Rejected
from service.settings import KafkaSettings
from service.store.accounts import Account, find_accounts
from service.store.mongo import Mongo
from service.store.writes import EncodedChange

Fate = Literal["applied", "deleted", "duplicate", "stale", "ignored", "rejected", "waiting", "gone"]


class Origin(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Told(NamedTuple):
    """One record about the id, and what became of it; `code` and `why` where it was rejected."""

    origin: Origin
    time_ms: int
    event_id: str | None
    object_id: str | None
    fate: Fate
    code: str = ""
    why: str = ""


@dataclass(slots=True)
class Explanation:
    """`accounts` is what is stored, `told` are records of the topics since `since`, `letters` the
    dead letters; `behind` is how many records the group has yet to work off, by partition."""

    organization_id: str
    id: str
    since: datetime
    accounts: list[Account] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    letters: list[ConsumerRecord] = field(default_factory=list)
    behind: Mapping[TopicPartition, int] = field(default_factory=dict)
    records_read: int = 0
    letters_read: int = 0


class Limits(NamedTuple):
    """How far to look back, and from what size on a record is too large."""

    back: timedelta
    max_record_bytes: int


async def explain(
    kafka: KafkaSettings, mongo: Mongo, organization_id: str, id_: str, limits: Limits
) -> Explanation:
    """Raises `StoreError` and `KafkaError`."""
    since = datetime.now(UTC) - limits.back
    found = Explanation(organization_id, id_, since)
    committed = await find_committed(kafka)
    partitions = await find_partitions(kafka, kafka.topics)
    letter_partitions = await find_partitions(kafka, [kafka.dead_letter_topic])
    about = []
    async with reading(kafka) as consumer:
        ends = await consumer.end_offsets(partitions)
        found.behind = {one: end - committed.get(one, 0) for one, end in ends.items()}
        async for record in read_since(consumer, ends, int(since.timestamp() * 1000)):
            found.records_read += 1
            if _is_about(record, id_, organization_id):
                about.append(record)
        letter_ends = await consumer.end_offsets(letter_partitions)
        async for letter in read_since(consumer, letter_ends, 0):
            found.letters_read += 1
            if _is_letter_about(letter, id_, organization_id):
                found.letters.append(letter)
    await _judge(found, about, committed, mongo, limits)
    return found


async def _judge(
    found: Explanation,
    about: Sequence[ConsumerRecord],
    committed: Offsets,
    mongo: Mongo,
    limits: Limits,
) -> None:
    ids = dict.fromkeys([found.id])
    ids.update(dict.fromkeys(_said(record)[1] or found.id for record in about))
    for one in ids:
        found.accounts += await find_accounts(mongo, found.organization_id, one)
    revisions = {account.stored_id: account.revision for account in found.accounts}
    letters = {_origin(letter): letter for letter in found.letters}
    seen: set[tuple[str, str]] = set()
    for record in sorted(about, key=lambda one: (one.timestamp, one.offset)):
        event_id, object_id = _said(record)
        origin = Origin(record.topic, record.partition, record.offset)
        outcome = parse_value(record.value, limits.max_record_bytes)
        place = TopicPartition(record.topic, record.partition)
        letter = letters.get(origin)
        fate, code, why = _fate(outcome, revisions, seen)
        if record.offset >= committed.get(place, 0) and fate != "ignored":
            fate = "waiting" if fate in ("gone", "stale", "rejected") and letter is None else fate
        if letter is not None:
            fate, code = "rejected", to_text(letter, CODE_HEADER) or code
        found.told.append(Told(origin, record.timestamp, event_id, object_id, fate, code, why))


def _fate(
    outcome: EncodedChange | Ignored | Rejected,
    revisions: Mapping[str, str | None],
    seen: set[tuple[str, str]],
) -> tuple[Fate, str, str]:
    """What a record has come to, by what is stored: its code and the reason where it is rejected."""
    if isinstance(outcome, Ignored):
        return "ignored", "", ""
    if isinstance(outcome, Rejected):
        return "rejected", outcome.code, outcome.message
    revision = revisions.get(outcome.id)
    is_first = (outcome.id, outcome.revision) not in seen
    seen.add((outcome.id, outcome.revision))
    if revision is None or revision < outcome.revision:
        return "gone", "", ""
    if not is_first:
        return "duplicate", "", ""
    if revision > outcome.revision:
        return "stale", "", f"{to_event_id(revision)} counts, of {to_time(revision)}"
    return ("deleted" if outcome.is_delete else "applied"), "", ""


def to_event_id(revision: str) -> str:
    return revision.partition("/")[2]


def to_time(revision: str) -> str:
    """When the change of a revision happened."""
    start = datetime(1, 1, 1, tzinfo=UTC)
    return (start + timedelta(microseconds=int(revision.partition("/")[0]))).isoformat()


def _is_about(record: ConsumerRecord, id_: str, organization_id: str) -> bool:
    """Its bytes are looked at first: few of many records are about one id."""
    if record.value is None or _quoted(id_) not in record.value:
        return False
    if id_ not in _said(record):
        return False
    return _organization(record) in (organization_id, None)


def _said(record: ConsumerRecord) -> tuple[str | None, str | None]:
    """The ids of event and activity, as far as they can be read."""
    event = _event(record)
    event_id, object_id = event.get("id"), event.get("object_id")
    return (
        event_id if isinstance(event_id, str) else None,
        object_id if isinstance(object_id, str) else None,
    )


def _organization(record: ConsumerRecord) -> str | None:
    found = _event(record).get("organization_id")
    return found if isinstance(found, str) else None


def _event(record: ConsumerRecord) -> Mapping[str, object]:
    try:
        return decode_event(record.value or b"")[0]
    except Rejected:
        return {}


def _is_letter_about(letter: ConsumerRecord, id_: str, organization_id: str) -> bool:
    """One that does not say whose it is, is where its bytes hold both."""
    whose = to_text(letter, ORGANIZATION_HEADER)
    value = letter.value or b""
    is_theirs = whose == organization_id or (whose is None and _quoted(organization_id) in value)
    return is_theirs and (to_text(letter, EVENT_HEADER) == id_ or _quoted(id_) in value)


def _quoted(id_: str) -> bytes:
    """As it stands in JSON: nothing in an id is written otherwise."""
    return f'"{id_}"'.encode()


def _origin(letter: ConsumerRecord) -> Origin:
    partition, offset = (to_text(letter, one) or "" for one in (PARTITION_HEADER, OFFSET_HEADER))
    return Origin(
        to_text(letter, TOPIC_HEADER) or "",
        int(partition) if partition.isdigit() else -1,
        int(offset) if offset.isdigit() else -1,
    )
