"""Committed positions beside what Kafka still holds (contract 1.5.7)."""

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY

from consumers.resuming import Resumption, resume
from deploy.local.kafka import administration
from tests.factories import activity, event, record
from tests.ingest.faults import make_again
from tests.ingest.group import Group, until


def notes(first: int, count: int) -> list[bytes]:
    numbers = range(first, first + count)
    return [record(event(activity("Note", id=f"acti_{number}"))) for number in numbers]


@pytest.mark.parametrize(
    ("committed", "resumption"),
    [
        (None, Resumption(10)),
        (OffsetAndMetadata(15, ""), Resumption(15)),
        (OffsetAndMetadata(15, "topic-id=a"), Resumption(15)),
        (OffsetAndMetadata(20, "topic-id=a"), Resumption(20)),
        (OffsetAndMetadata(15, "topic-id=b"), Resumption(10, "recreated")),
        (OffsetAndMetadata(5, "topic-id=b"), Resumption(10, "recreated")),
        (OffsetAndMetadata(15, "a tool's own words"), Resumption(15)),
        (OffsetAndMetadata(21, "topic-id=a"), Resumption(10, "truncated")),
        (OffsetAndMetadata(9, "topic-id=a"), Resumption(10, "expired")),
    ],
)
def test_what_a_position_is_worth(
    committed: OffsetAndMetadata | None, resumption: Resumption
) -> None:
    assert resume(committed, 10, 20, "a") == resumption
    if resumption.reason != "recreated":
        assert resume(committed, 10, 20, None) == resumption


async def fill(group: Group, values: Sequence[bytes]) -> None:
    """Into one partition."""
    async with group.producer() as producer:
        for value in values:
            await producer.send(group.topics.names[0], value, partition=0)


def count(name: str, group: Group, reason: str) -> float:
    labels = {"topic": group.topics.names[0], "reason": reason}
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def expire(group: Group, before: int) -> None:
    """What retention does."""
    partition = TopicPartition(group.topics.names[0], 0)
    async with administration(group.topics.bootstrap_servers) as admin:
        await admin.delete_records({partition: RecordsToDelete(before)})


async def test_what_retention_took_meanwhile_is_told(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(group, notes(0, 10))
    async with group.member():
        await group.until_worked_off()
    await fill(group, notes(10, 200))
    await expire(group, 150)

    async with group.member():
        await group.until_worked_off()

    stored = await group.stored()
    kept = [*range(10), *range(150, 210)]
    assert set(stored["orga_1"]) == {f"acti_{number}" for number in kept}
    assert count("activity_records_skipped_total", group, "expired") == 140
    assert count("activity_positions_reset_total", group, "expired") == 1
    (told,) = [vars(line) for line in caplog.records if "not there any more" in line.message]
    named = {key: told[key] for key in ("partition", "committed_offset", "next_offset")}
    assert named == {"partition": 0, "committed_offset": 10, "next_offset": 150}
    assert told["records_missing"] == 140


async def test_topic_made_again_and_refilled_with_more_is_read_from_its_beginning(
    group: Group,
) -> None:
    """While nobody reads."""
    await fill(group, notes(0, 50))
    async with group.member():
        await group.until_worked_off()
    before = await committed(group)
    await make_again(group.topics.bootstrap_servers, group.topics.names[0])
    await fill(group, notes(100, 80))
    await commit(group, before)

    async with group.member():
        await group.until_worked_off()

    numbers = [*range(50), *range(100, 180)]
    assert set((await group.stored())["orga_1"]) == {f"acti_{number}" for number in numbers}
    assert count("activity_positions_reset_total", group, "recreated") == 1


async def test_topic_made_again_under_a_running_member_is_read_from_its_beginning(
    group: Group,
) -> None:
    await fill(group, notes(0, 50))
    async with group.member():
        await group.until_worked_off()
        await make_again(group.topics.bootstrap_servers, group.topics.names[0])
        await fill(group, notes(100, 80))

        async def is_all_there() -> bool:
            return len((await group.stored())["orga_1"]) == 130

        await until(is_all_there)
        await group.until_worked_off()

    assert [place.offset for place in (await committed(group)).values()] == [80]


async def test_truncated_partition_is_read_from_its_beginning(group: Group) -> None:
    await fill(group, notes(0, 50))
    async with group.member():
        await group.until_worked_off()
    partition = TopicPartition(group.topics.names[0], 0)
    await commit(group, {partition: OffsetAndMetadata(500, "")})

    async with group.member():
        await until_reset(group)
        await fill(group, notes(50, 5))
        await group.until_worked_off()

    assert len((await group.stored())["orga_1"]) == 55
    assert [place.offset for place in (await committed(group)).values()] == [55]


async def until_reset(group: Group) -> None:
    async def is_reset() -> bool:
        return count("activity_positions_reset_total", group, "truncated") == 1

    await until(is_reset)


async def committed(group: Group) -> dict[TopicPartition, OffsetAndMetadata]:
    """The group's positions in the first topic, but for those at the beginning."""
    async with administration(group.topics.bootstrap_servers) as admin:
        found = await admin.list_consumer_group_offsets(group.topics.group_id)
    topic = group.topics.names[0]
    return {one: place for one, place in found.items() if one.topic == topic and place.offset > 0}


async def commit(group: Group, positions: dict[TopicPartition, OffsetAndMetadata]) -> None:
    """As a tool does it, while the group has no members."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=group.topics.bootstrap_servers,
        group_id=group.topics.group_id,
        enable_auto_commit=False,
    )
    async with consumer:
        consumer.assign(list(positions))
        await consumer.commit(positions)
