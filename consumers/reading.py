"""What is read of partitions, where each may be bad, or large beyond measure, by itself.

aiokafka raises what is wrong with one partition out of the fetch of all (its issue 321), after it has
moved the positions of records that nobody gets to see then; it asks again at once, a thousand times
a second; and it unpacks whatever comes. It has no settings for that, hence this: a consumer that
looks at each answer of a broker before aiokafka does. What cannot be read is a fault of its partition,
which stays paused until somebody retries it; what would be too much comes as one record, packed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint
from aiokafka.structs import OffsetAndMetadata

from consumers.deadlines import within
from consumers.header_names import PatientBatch
from consumers.topic_ids import find_topic_ids
from consumers.unpacking import TooLarge, unpack
from service.settings import MEBIBYTE

# Unpacked in one go before the records are taken. One batch more is allowed, or none would fit.
MAX_TOGETHER_BYTES = 8 * MEBIBYTE
RENEW_SECONDS = 0.2
# aiokafka itself gets over these.
_TRANSIENT = (NotLeaderForPartitionError, UnknownTopicOrPartitionError)

# A batch, as it is stored: where it begins, its length, its magic, its codec, its count.
_LENGTH, _MAGIC, _ATTRIBUTES = slice(8, 12), 16, slice(21, 23)
_LENGTH_END, _HEADER_BYTES, _CODEC, _FIRST_MAGIC_OF_BATCHES = 12, 61, 0x07, 2
# What a header of a record costs as Python's objects, and from which size on that is looked at.
_HEADER_OBJECT_BYTES = 100
_COUNTED_BYTES = 4 * MEBIBYTE


Question = Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, int]]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a partition cannot be read at `offset`; `next_offset` lies behind what is bad, where the
    broker's answer says so."""

    offset: int
    reason: str
    next_offset: int | None = None


class PackedBatch(bytes):
    """A batch as the broker gave it, in place of the value of one record."""

    first_offset: int
    records: int


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """What aiokafka takes for the last record of a batch that is not unpacked."""

    value: PackedBatch
    offset: int
    timestamp: int
    timestamp_type: int
    key: None = None
    checksum: None = None
    headers: tuple[()] = ()


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's, in which a bad partition stops nobody else.

    `faults` says which are bad: they stay paused, whoever resumes them, until `retry`. So do the
    `unsettled` ones, of which is not known yet where to read on, until `settle`. `out_of_range` names
    a place that was asked for and that Kafka does not hold.
    """

    def __init__(self, *topics: str, max_unpacked_bytes: int, **options: Any) -> None:
        super().__init__(*topics, **options)
        fetcher.MemoryRecords = _records_of
        self.faults: dict[TopicPartition, Fault] = {}
        self.unsettled: set[TopicPartition] = set()
        self.out_of_range: str | None = None
        self._attention = asyncio.Event()
        self.max_unpacked_bytes = max_unpacked_bytes
        self.unpacked_bytes = 0
        # While everything is held back nothing is resumed.
        self.is_held = False
        self._ask = self._client.send
        self._client.send = self._send
        self._renew = self._client.force_metadata_update
        self._renewed = 0.0
        self._client.force_metadata_update = self._renew_in_time

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> Any:
        """Records of some mebibytes at most, and of one batch more."""
        self.unpacked_bytes = 0
        return await super().getmany(*partitions, **options)

    def fail(self, partition: TopicPartition, fault: Fault) -> None:
        """Set a partition apart."""
        self.faults[partition] = fault
        if partition in self.assignment():
            self.pause(partition)

    def retry(self, partition: TopicPartition) -> None:
        """Read a partition that was set apart."""
        self.faults.pop(partition, None)
        if partition in self.assignment():
            self.resume(partition)

    def unsettle(self, partitions: Collection[TopicPartition]) -> None:
        """Read none of these before `settle`. To be called with an assignment before anything is
        awaited: then aiokafka never looks for positions of its own."""
        self.unsettled = set(partitions)
        for partition in partitions:
            self.seek(partition, 0)
        self.pause(*partitions)
        self._attention.set()

    def settle(self, partition: TopicPartition, offset: int) -> None:
        """Read on from there."""
        self.unsettled.discard(partition)
        self.seek(partition, offset)
        self.resume(partition)

    def resume(self, *partitions: TopicPartition) -> None:
        if self.is_held:
            return
        kept_back = self.faults.keys() | self.unsettled
        super().resume(*(one for one in partitions if one not in kept_back))

    async def until_unsettled(self, seconds: float) -> None:
        """Wait so long, or until there is something new to be settled."""
        self._attention.clear()
        if not self.unsettled and self.out_of_range is None:
            await within(seconds, self._attention.wait())

    async def find_topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Raises `KafkaError`."""
        return await find_topic_ids(self._client, topics)

    def give_up_place(self) -> None:
        """Leave the group at the end, as a dynamic member does: a static one that comes back finds
        its old assignment, without a topic that was missing when that was made."""
        self._coordinator._group_instance_id = None

    async def find_committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """The group's position of each, None where it has none; without those of topics that may not
        be asked for. Raises `KafkaError` where none may be."""
        found: dict[TopicPartition, OffsetAndMetadata | None] = {}
        refusal: KafkaError | None = None
        for topic in {partition.topic for partition in partitions}:
            wanted = [partition for partition in partitions if partition.topic == topic]
            try:
                committed = await self._coordinator.fetch_committed_offsets(wanted)
            except KafkaError as error:
                refusal = error
            else:
                found |= {partition: committed.get(partition) for partition in wanted}
        if refusal is not None and not found:
            raise refusal
        return found

    async def ask(
        self, question: Question, partitions: Collection[TopicPartition], seconds: float
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
        """The answers of all leaders that give one within so many seconds; and for the partitions
        of the others, why there is none. A leader that refuses one partition is asked for each."""
        groups: dict[Any, list[TopicPartition]] = {}
        for partition in partitions:
            leader = self._client.cluster.leader_for_partition(partition)
            groups.setdefault(leader, []).append(partition)
        answers: dict[TopicPartition, int] = {}
        faults = dict.fromkeys(groups.pop(None, []) + groups.pop(-1, []), "it has no leader")
        await asyncio.gather(
            *(
                self._ask_leader(question, group, seconds, answers, faults)
                for group in groups.values()
            )
        )
        return answers, faults

    async def _ask_leader(
        self,
        question: Question,
        partitions: list[TopicPartition],
        seconds: float,
        answers: dict[TopicPartition, int],
        faults: dict[TopicPartition, str],
    ) -> None:
        try:
            async with asyncio.timeout(seconds):
                answers.update(await question(partitions))
        except TimeoutError:
            faults.update(dict.fromkeys(partitions, "its leader does not answer"))
        except KafkaError as error:
            if len(partitions) == 1:
                faults[partitions[0]] = f"Kafka says {type(error).__name__}"
                return
            for partition in partitions:
                await self._ask_leader(question, [partition], seconds, answers, faults)

    def _renew_in_time(self) -> Any:
        """While a partition has no leader, aiokafka asks who leads as often as it gets an answer."""
        leader = self._client.cluster.leader_for_partition
        wait = self._renewed + RENEW_SECONDS - time.monotonic()
        if wait > 0 and any(leader(one) in {None, -1} for one in self.assignment()):
            return asyncio.ensure_future(asyncio.sleep(wait, True))
        self._renewed = time.monotonic()
        return self._renew()

    async def _send(self, node_id: Any, request: Any, **options: Any) -> Any:
        response = await self._ask(node_id, request, **options)
        if isinstance(request, FetchRequest):
            offsets = {
                TopicPartition(topic, partition): offset
                for topic, partitions in request.topics
                for partition, offset, _ in partitions
            }
            response.topics = [
                (topic, list(self._look(topic, partitions, offsets)))
                for topic, partitions in response.topics
            ]
        return response

    def _look(
        self, topic: str, partitions: Any, offsets: dict[TopicPartition, int]
    ) -> Iterator[tuple[Any, ...]]:
        """The answers that aiokafka may see: without errors that it does not get over."""
        for number, error_code, *rest, data in partitions:
            partition, error = TopicPartition(topic, number), for_code(error_code)
            offset = offsets[partition]
            if error is NoError:
                yield number, error_code, *rest, Fetched(data or b"", partition, offset, self)
            elif error is OffsetOutOfRangeError:
                self.out_of_range = f"{topic}[{number}]@{offset}"
                self.pause(partition)
                self._attention.set()
            elif issubclass(error, _TRANSIENT):
                yield number, error_code, *rest, data
            else:
                self.fail(partition, Fault(offset, f"Kafka says {error.__name__}"))


@dataclass(slots=True)
class Fetched:
    """What a broker gave of one partition, from `offset` on."""

    data: bytes
    partition: TopicPartition
    offset: int
    consumer: Consumer

    def fail(self, offset: int, reason: str, next_offset: int | None = None) -> None:
        self.consumer.fail(self.partition, Fault(offset, reason, next_offset))


def _records_of(data: Any) -> Any:
    """In place of aiokafka's class; what other consumers read is none of ours."""
    return Records(data) if isinstance(data, Fetched) else MemoryRecords(data)


class Records:
    """The batches of one fetched partition, up to the first that is bad."""

    def __init__(self, fetched: Fetched) -> None:
        self._fetched = fetched
        self._rest = memoryview(fetched.data)
        self._next: Any = None
        self._has_begun = False
        # Before this everything was read. aiokafka goes on from here with the next fetch.
        self.position = fetched.offset
        self.is_bad = False

    def size_in_bytes(self) -> int:
        """Asked for where there is no batch. With any other answer aiokafka would skip an offset."""
        return 0

    def has_next(self) -> bool:
        if self._next is None and not self.is_bad:
            self._read()
        is_full = self._fetched.consumer.unpacked_bytes >= MAX_TOGETHER_BYTES
        is_first_look, self._has_begun = not self._has_begun, True
        return self._next is not None and (is_first_look or not is_full)

    def next_batch(self) -> Any:
        batch, self._next = self._next, None
        return batch

    def fail(self, reason: str, next_offset: int | None = None) -> None:
        self.is_bad = True
        self._fetched.fail(self.position, reason, next_offset)

    def _read(self) -> None:
        """The next whole batch, if there is one: the last may have been cut off."""
        end = _LENGTH_END + int.from_bytes(self._rest[_LENGTH], "big")
        if len(self._rest) < end:
            return
        stored, self._rest = self._rest[:end], self._rest[end:]
        try:
            batch = MemoryRecords(bytes(stored)).next_batch()
            if batch.validate_crc():
                self._next = Batch(batch, stored, self, self._fetched.consumer)
            else:
                self.fail("a batch is damaged: its checksum is wrong", batch.next_offset)
        except Exception as error:  # noqa: BLE001 whatever it is, it is wrong with this partition only
            self.fail(f"a batch is damaged: {error}")


class Batch:
    """One batch whose checksum is right."""

    def __init__(
        self, batch: Any, stored: memoryview, records: Records, consumer: Consumer
    ) -> None:
        self._batch = batch
        self._stored = stored
        self._records = records
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        return True

    @property
    def next_offset(self) -> int:
        """Where to go on: at the record that cannot be read, if there is one."""
        if not self._records.is_bad:
            self._records.position = self._batch.next_offset
        return self._records.position

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """Nothing is done for a record but to hand it on: each comes by here."""
        read, last = 0, None
        try:
            plain = self._unpack()
            try:
                for last in self._batch if plain is None else DefaultRecordBatch(plain):
                    yield last
                    read += 1
            except UnicodeDecodeError:
                for last in islice(PatientBatch(plain), read, None):
                    yield last
        except TooLarge:
            yield self._packed()
        except Exception as error:  # noqa: BLE001 whatever it is, it is wrong with this partition only
            first = max(self._records.position, self._batch.base_offset)
            self._records.position = first if last is None else max(first, last.offset + 1)
            self._records.fail(f"a batch cannot be read: {error}", self._batch.next_offset)

    def _unpack(self) -> memoryview | bytes | None:
        """The batch as if it had never been compressed; its checksum is not right any more. None
        for one of the formats before there were batches."""
        if self._stored[_MAGIC] < _FIRST_MAGIC_OF_BATCHES:
            return None
        header, records = self._stored[:_HEADER_BYTES], self._stored[_HEADER_BYTES:]
        attributes, max_bytes = self._batch.attributes, self._consumer.max_unpacked_bytes
        codec = attributes & _CODEC
        plain = unpack(codec, records, max_bytes) if codec else records
        self._consumer.unpacked_bytes += len(plain)
        if len(plain) > _COUNTED_BYTES and _cost(plain) > max_bytes:
            raise TooLarge
        if not codec:
            return self._stored
        flags = (attributes & ~_CODEC).to_bytes(2, "big")
        start, end = _ATTRIBUTES.start, _ATTRIBUTES.stop
        return b"".join([header[:start], flags, header[end:], plain])

    def _packed(self) -> PackedRecord:
        value = PackedBatch(self._stored)
        value.first_offset, last = self._batch.base_offset, self._batch.next_offset - 1
        value.records = int.from_bytes(self._stored[_HEADER_BYTES - 4 : _HEADER_BYTES], "big")
        return PackedRecord(value, last, self._batch.max_timestamp, self._batch.timestamp_type)


def _cost(records: bytes | memoryview) -> int:
    """How many bytes they take as objects: a header of two bytes takes a hundred."""
    headers, place = 0, 0
    while place < len(records):
        length, place = decode_varint(records, place)
        end, place = place + length, place + 1
        for _ in range(2):  # time and offset
            _, place = decode_varint(records, place)
        for _ in range(2):  # key and value
            size, place = decode_varint(records, place)
            place += max(0, size)
        count, _ = decode_varint(records, place)
        headers += count
        if length <= 0:
            raise CorruptRecordException(f"a record has {length} bytes")
        place = end
    return len(records) + headers * _HEADER_OBJECT_BYTES
