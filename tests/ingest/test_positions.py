"""No position is committed before everything below it is durable, whatever interrupts the work
(contract 1.5.2, invariant I4)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import REGISTRY

from consumers import batch, dead_letters, health, lag, runner, writer
from consumers.dead_letters import DeadLetterProducer, Letter
from consumers.records import parse_record
from service.activities.events import Ignored
from service.errors import Rejected
from service.settings import RetentionSettings
from service.store.indexes import ORGANIZATION_DATE_CREATED, ensure_indexes
from service.store.mongo import Mongo
from service.store.writes import EncodedChange, Written, write_changes
from tests.factories import realistic_events
from tests.factories import record as encode_event
from tests.ingest.group import DEADLINE_SECONDS, Group, Member, until

SILENT_SECONDS = 3.0
SMALL: dict[str, Any] = {"batch_max_records": 2, "max_writes_in_flight": 1}


async def test_a_slow_rebalance_commits_nothing_of_what_was_dropped(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one member takes its time to revoke, the other still has its old positions."""
    may_write = asyncio.Event()
    revoked: list[object] = []
    revoke = runner.Runner.on_partitions_revoked

    async def write_when_allowed(mongo: Mongo, changes: Sequence[EncodedChange]) -> list[Written]:
        await may_write.wait()
        return await write_changes(mongo, changes)

    async def revoke_in_turn(self: runner.Runner, partitions: Collection[TopicPartition]) -> None:
        await revoke(self, partitions)
        if partitions:
            revoked.append(self)
            await asyncio.sleep(len(revoked))  # the slowness under test

    monkeypatch.setattr(writer, "write_changes", write_when_allowed)
    monkeypatch.setattr(runner, "REVOKE_SECONDS", 0.2)
    monkeypatch.setattr(runner.Runner, "on_partitions_revoked", revoke_in_turn)
    await group.publish(map(encode_event, realistic_events(1, 80)))

    async with group.member(**SMALL) as one, group.member(**SMALL) as two:
        await until(both_joined(one, two))
        async with group.member(**SMALL) as three:
            await until(both_joined(three, three))
            for _ in range(10):
                assert sum((await group.lag()).values()) == 80
            may_write.set()
            await group.until_worked_off()

    await group.check()


async def test_a_client_that_died_is_replaced_and_nothing_is_stuck(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first question is never answered, as when what answers has died inside it; and Kafka lets
    the next one wait for longer than a loop may be silent."""
    start = AIOKafkaConsumer.start
    dead: list[AIOKafkaConsumer] = []
    end_offsets = AIOKafkaConsumer.end_offsets

    async def answer_but_for_the_first(self: AIOKafkaConsumer, *arguments: Any) -> Any:
        if not dead:
            dead.append(self)
        if self in dead:
            await asyncio.Event().wait()
        return await end_offsets(self, *arguments)

    async def start_slowly_again(self: AIOKafkaConsumer) -> None:
        if dead:
            await asyncio.sleep(2 * SILENT_SECONDS)  # the slowness under test
        await start(self)

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", answer_but_for_the_first)
    monkeypatch.setattr(AIOKafkaConsumer, "start", start_slowly_again)
    monkeypatch.setattr(health, "STUCK_SECONDS", SILENT_SECONDS)
    for name in ("INTERVAL_SECONDS", "ANSWER_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(lag, name, 0.2)

    before = assignments()

    async def has_joined_again() -> bool:
        assert await member.health.is_alive() is None
        return assignments() >= before + 2

    async with group.member(**SMALL) as member:
        await until(has_joined_again)
        await group.publish(map(encode_event, realistic_events(1, 20)))
        await group.until_worked_off()

    await group.check()


async def test_a_defect_commits_nothing_behind_it(
    group: Group, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kafka's client has moved on when a record ends the process; its positions have not."""
    defect = b"defect"

    def parse_or_fail(record: ConsumerRecord, max_bytes: int) -> EncodedChange | Ignored | Rejected:
        if record.value == defect:
            raise RuntimeError("a defect of ours")
        return parse_record(record, max_bytes)

    monkeypatch.setattr(batch, "parse_record", parse_or_fail)
    async with group.producer() as producer:
        for value in [b"{}", b"{}", defect, b"{}", b"{}"]:
            await producer.send_and_wait(group.topics.names[0], value, partition=0)

    with pytest.raises(RuntimeError, match="a defect of ours"):
        async with group.member() as member:
            await asyncio.wait({member.task}, timeout=DEADLINE_SECONDS)

    assert f"{group.topics.names[0]}, partition 0, offset 2" in caplog.text

    assert sum((await group.lag()).values()) >= 3


async def test_without_indexes_a_running_consumer_takes_nothing_more(group: Group) -> None:
    before = [encode_event(event) for event in realistic_events(2, 10)]
    after = [encode_event(event) for event in realistic_events(3, 10)]

    async with group.member() as member:
        await group.publish(before)
        await group.until_worked_off()
        await group.mongo.activities.drop_index(ORGANIZATION_DATE_CREATED)
        await until(is_holding(member))
        await group.publish(after)
        for _ in range(10):
            assert sum((await group.lag()).values()) == 10
        await ensure_indexes(group.mongo, RetentionSettings())
        await group.until_worked_off()

    await group.check()


async def test_a_rebalance_lets_nobody_take_what_is_held(group: Group) -> None:
    records = [encode_event(event) for event in realistic_events(2, 10)]
    neighbour = AIOKafkaConsumer(
        *group.topics.names,
        bootstrap_servers=group.topics.bootstrap_servers,
        group_id=group.topics.group_id,
        enable_auto_commit=False,
    )

    async with group.member() as member:
        await until(both_joined(member))
        await group.mongo.activities.drop_index(ORGANIZATION_DATE_CREATED)
        await until(is_holding(member))
        before = assignments()
        async with neighbour:
            await until(have_rebalanced(before + 1))
        await until(have_rebalanced(before + 2))
        await group.publish(records)
        for _ in range(10):
            assert sum((await group.lag()).values()) == 10
        await ensure_indexes(group.mongo, RetentionSettings())
        await group.until_worked_off()

    await group.check()


async def test_a_revocation_writes_nothing_that_has_not_begun(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    at_the_end: list[int] = []
    may_write = asyncio.Event()
    revoke = runner.Runner.on_partitions_revoked

    async def write_when_allowed(mongo: Mongo, changes: Sequence[EncodedChange]) -> list[Written]:
        begun.append(len(changes))
        await may_write.wait()
        return await write_changes(mongo, changes)

    async def revoke_and_count(self: runner.Runner, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            may_write.set()
        await revoke(self, partitions)
        if partitions:
            at_the_end.append(len(begun))

    async def has_begun() -> bool:
        return bool(begun)

    monkeypatch.setattr(writer, "write_changes", write_when_allowed)
    monkeypatch.setattr(runner.Runner, "on_partitions_revoked", revoke_and_count)
    async with group.producer() as producer:  # to one partition: one fetch takes them all
        for event in realistic_events(1, 6):
            await producer.send(group.topics.names[0], encode_event(event), partition=0)
            group.model.apply(encode_event(event))

    async with group.member(**SMALL):
        await until(has_begun)
        async with group.member(**SMALL):
            await group.until_worked_off()

    assert at_the_end[0] == 1
    await group.check()


async def test_a_producer_cancelled_while_it_starts_is_not_kept(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance may cancel a write at any await."""
    monkeypatch.setattr(dead_letters, "_REQUEST_TIMEOUT_SECONDS", 1)
    record = ConsumerRecord("t", 0, 0, 0, 0, None, b"x", None, 0, 1, ())
    async with (
        silent_server() as address,
        DeadLetterProducer(group.kafka(bootstrap_servers=address)) as producer,
    ):
        first = asyncio.create_task(producer.try_each([Letter("t", record, [])]))
        await asyncio.sleep(0)
        done, _ = await asyncio.wait({first}, timeout=0.2)
        assert not done
        first.cancel()
        await asyncio.wait({first})

        with pytest.raises(KafkaError):
            await asyncio.wait_for(producer.try_each([Letter("t", record, [])]), 20)


def both_joined(*members: Member) -> Callable[[], Awaitable[bool]]:
    async def have_joined() -> bool:
        return all(member.health.has_joined for member in members)

    return have_joined


def assignments() -> float:
    return REGISTRY.get_sample_value("activity_rebalances_total") or 0.0


def have_rebalanced(times: float) -> Callable[[], Awaitable[bool]]:
    async def are_so_many() -> bool:
        return assignments() >= times

    return are_so_many


def is_holding(member: Member) -> Callable[[], Awaitable[bool]]:
    async def has_paused() -> bool:
        paused = REGISTRY.get_sample_value("activity_partitions_paused")
        return member.health.is_out("indexes") and bool(paused)

    return has_paused


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never says a word."""

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
