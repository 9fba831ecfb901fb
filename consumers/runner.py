"""The loop: records from Kafka to the writer, positions back to Kafka."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import (
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from consumers.cluster import to_client_options
from consumers.deadlines import cancel, unless, within
from consumers.health import Health
from consumers.lag import Lag
from consumers.membership import Membership
from consumers.pipeline import Pipeline, Write
from consumers.positions import Positions
from consumers.quarantine import Quarantine
from consumers.reading import Consumer
from consumers.resuming import Resuming
from consumers.turns import Turns
from service.errors import Halted
from service.observability import COMMITS, PARTITIONS_ASSIGNED, PARTITIONS_PAUSED, REBALANCES
from service.settings import MEBIBYTE, IngestSettings, KafkaSettings

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
# Parsed in one go, and so the longest that everything else in the process waits for its turn.
MAX_FETCHED_RECORDS = 500
HOLD_AFTER_SECONDS = 1.0
# How soon a member hears of a rebalance.
HEARTBEAT_SECONDS = 3.0
REVOKE_SECONDS = 5.0
COMMIT_SECONDS = 5.0
CLOSE_SECONDS = 5.0
REJOIN_SECONDS = 1.0


class Runner(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One member of the consumer group.

    Nothing that a rebalance callback waits for waits for the callback: the fetch holds no lock, and
    every wait in a callback is bounded (invariant I5).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        ingest: IngestSettings,
        write: Write,
        health: Health,
        quarantine: Quarantine,
    ) -> None:
        self._kafka = kafka
        self._ingest = ingest
        self._health = health
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pipeline = Pipeline(ingest, write, self._fail)
        self._membership = Membership(kafka.group_instance_id)
        self._lag = Lag(health)
        self._quarantine = quarantine
        self._resuming = Resuming(kafka.topics)
        self._turns = Turns()
        self._consumer: Consumer = None  # type: ignore[assignment]  # until there is a member
        self._is_holding = False
        # Between fetched and taken the consumer's positions are ahead of ours.
        self._is_taking = False
        # Whether everything before the consumer's positions was taken: not after a fetch that
        # failed, and not from a revocation, which drops records, to the next assignment.
        self._trusts_positions = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write and commit what the time to drain allows.

        Raises `Halted` where the line must stop: a blown fuse, or another member with this one's
        instance id. What aiokafka cannot get over is answered with a fresh member.
        """
        while not stop.is_set():
            try:
                async with self._member():
                    # Brokers that do not answer are waited for at length, one after the other.
                    await unless(stop, self._join())
                    if not stop.is_set():
                        await self._work_until(stop)
            except KafkaError as error:
                self._health.fail("kafka", str(error) or type(error).__name__)
                await within(REJOIN_SECONDS, stop.wait())

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """What is being written may end, within a budget; then commit what is durable."""
        try:
            if revoked:
                self._pipeline.drop_waiting()
                await self._pipeline.finish(0 if self._health.is_away else REVOKE_SECONDS)
                if await self._commit_last() == "lost":
                    self._lose_membership()
        finally:
            self._trusts_positions = False
            self._pipeline.positions = Positions()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pauses do not survive a rebalance: renew them. Nothing is read before it is settled from
        where."""
        self._trusts_positions = True
        self._turns = Turns()
        self._consumer.unsettle(assigned)
        self._health.has_joined = True
        self._health.recover("kafka")
        REBALANCES.inc()
        PARTITIONS_ASSIGNED.set(len(assigned))
        logger.info("assigned %d partitions", len(assigned))

    @asynccontextmanager
    async def _member(self) -> AsyncIterator[None]:
        self._consumer = new_consumer(self._kafka, self._ingest.max_unpacked_bytes)
        try:
            yield
        finally:
            self._health.has_joined = False
            PARTITIONS_ASSIGNED.set(0)
            await within(CLOSE_SECONDS, self._consumer.stop())

    async def _join(self) -> None:
        with self._health.waiting():
            await self._consumer.start()
        self._consumer.subscribe(topics=self._kafka.topics, listener=self)

    async def _work_until(self, stop: asyncio.Event) -> None:
        """Returns when stopped; raises what any part of the work raised."""
        parts = {
            asyncio.create_task(stop.wait(), name="stop"),
            asyncio.create_task(self._watch_failure(), name="failure"),
            asyncio.create_task(self._fetch(), name="fetch"),
            asyncio.create_task(self._commit_regularly(), name="commit"),
            asyncio.create_task(self._lag.watch(self._consumer, self._pipeline), name="lag"),
            asyncio.create_task(self._resuming.watch(self._consumer), name="resume"),
            asyncio.create_task(
                self._quarantine.watch(self._consumer, lambda: self._is_holding), name="quarantine"
            ),
        }
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(parts)
            await self._drain(self._ingest.shutdown_seconds if stop.is_set() else REVOKE_SECONDS)
        for part in done:
            part.result()

    async def _fetch(self) -> None:
        while True:
            self._health.turn()
            if not self._pipeline.has_room:
                await self._pipeline.wait_for_room(HOLD_AFTER_SECONDS)
            if not self._may_fetch:
                await self._hold()
            await self._poll()

    async def _hold(self) -> None:
        """Fetch nothing, and stay a member: with all partitions paused the fetch goes on."""
        self._is_holding = self._consumer.is_held = True
        self._consumer.pause(*self._consumer.assignment())
        PARTITIONS_PAUSED.set(len(self._consumer.paused()))
        try:
            while not self._may_fetch:
                self._health.turn()
                await self._poll()
        finally:
            self._is_holding = self._consumer.is_held = False
            self._consumer.resume(*self._consumer.assignment())
            PARTITIONS_PAUSED.set(0)

    async def _poll(self) -> None:
        seconds = self._pipeline.patience_seconds(POLL_SECONDS)
        try:
            with self._health.waiting():
                fetched = await self._consumer.getmany(
                    timeout_ms=seconds * 1000, max_records=MAX_FETCHED_RECORDS
                )
            behind = {one for one, records in fetched.items() if self._is_behind(one, records)}
            self._is_taking = True
            await self._pipeline.take(fetched, is_behind=bool(behind))
        except BaseException:  # cancelled, too: then some of it was not taken
            self._trusts_positions = False
            raise
        finally:
            self._is_taking = False
        if not self._is_holding:
            self._take_turns(fetched, behind)

    def _is_behind(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> bool:
        """Whether the broker has so much more that the next fetch will be full, too."""
        end = self._consumer.last_stable_offset(partition) or 0
        return bool(end - records[-1].offset > MAX_FETCHED_RECORDS)

    def _take_turns(
        self,
        fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]],
        behind: Collection[TopicPartition],
    ) -> None:
        for partition, records in fetched.items():
            size = sum(len(record.value or b"") for record in records)
            self._turns.note(partition, size, is_behind=partition in behind)
        if sum(map(len, fetched.values())) == MAX_FETCHED_RECORDS:
            return  # the client may hold more, which it would throw away with a pause
        waiting = self._turns.waiting() & self._consumer.assignment()
        paused = self._consumer.paused()
        self._consumer.pause(*(waiting - paused))
        self._consumer.resume(*(paused - waiting))

    @property
    def _may_fetch(self) -> bool:
        return self._pipeline.has_room and not self._health.is_out("indexes")

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._ingest.commit_interval_seconds)
            await self._skip_markers()
            await self._commit(self._pipeline.positions.due())

    async def _last_positions(self) -> Mapping[TopicPartition, int]:
        """What is due, else what is committed already: the answer tells whether we are a member."""
        await self._skip_markers()
        return self._pipeline.positions.due() or self._pipeline.positions.durable()

    async def _skip_markers(self) -> None:
        """The ends of transactions have offsets, too, but are no records that could be taken."""
        for partition in self._consumer.assignment():
            position = await within(POLL_SECONDS, self._position(partition))
            if position is not None and self._trusts_positions and not self._is_taking:
                self._pipeline.positions.skip(partition, position)

    async def _position(self, partition: TopicPartition) -> int | None:
        """None before the first fetch, when it may be unknown, and where the partition is lost."""
        is_assigned = partition in self._consumer.assignment()
        if not is_assigned or self._consumer.highwater(partition) is None:
            return None
        try:
            position: int = await self._consumer.position(partition)
        except IllegalStateError:
            return None
        return position

    async def _commit(self, positions: Mapping[TopicPartition, int]) -> str:
        """Commit by name. Partitions lost meanwhile are no error: their records come again."""
        current = self._pipeline.positions
        if not positions:
            return "nothing"
        outcome = "committed"
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(self._resuming.marked(positions))
            current.committed(positions)
        except TopicAuthorizationFailedError as error:  # the others are committed all the same
            outcome = "failed"
            (refused,) = error.args
            current.committed(
                {one: at for one, at in positions.items() if one.topic not in refused}
            )
        except (CommitFailedError, IllegalStateError):
            outcome = "lost"
        except (KafkaError, TimeoutError) as error:
            outcome = "failed"
            self._health.fail("kafka", str(error) or "no answer to a commit")
        COMMITS.labels(outcome).inc()
        return outcome

    async def _drain(self, seconds: float) -> None:
        """Write what is taken, and commit, in this time: a quarter of it is for the commit."""
        await self._pipeline.finish(seconds * 0.75)
        await within(seconds * 0.25, self._commit_last())

    async def _commit_last(self) -> str:
        return await self._commit(await self._last_positions())

    def _lose_membership(self) -> None:
        try:
            self._membership.lose()
        except Halted as halted:
            self._fail(halted)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _watch_failure(self) -> None:
        await asyncio.shield(self._failure)


def new_consumer(kafka: KafkaSettings, max_unpacked_bytes: int) -> Consumer:
    """Reads only what transactions have committed; commits nothing by itself.

    A broker answers a fetch as soon as it has anything, so its longest wait costs no latency; it is
    short because a partition worked off meanwhile is asked for again only after that answer. What
    one partition may give leaves room for others in it.
    A rebalance waits for the slowest member, so its time exceeds what a member takes to revoke, and
    a request that joins must be allowed to wait for it.
    """
    return Consumer(
        **to_client_options(kafka),
        max_unpacked_bytes=max_unpacked_bytes,
        group_id=kafka.group_id,
        group_instance_id=kafka.group_instance_id,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        fetch_max_bytes=4 * MEBIBYTE,
        max_partition_fetch_bytes=2 * MEBIBYTE,
        rebalance_timeout_ms=20_000,
        request_timeout_ms=30_000,
        session_timeout_ms=int(kafka.session_timeout_seconds * 1000),
        heartbeat_interval_ms=int(min(HEARTBEAT_SECONDS, kafka.session_timeout_seconds / 3) * 1000),
        max_poll_interval_ms=int(kafka.max_poll_interval_seconds * 1000),
        metadata_max_age_ms=int(kafka.metadata_max_age_seconds * 1000),
    )
