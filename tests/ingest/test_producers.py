"""What producers really send (contract 1.2, 1.5)."""

from typing import Any

import pytest

from service.store.mongo import Mongo
from tests.conftest import new_topics
from tests.factories import BAD_RECORDS, activity, event, realistic_events, record
from tests.ingest.group import Group
from tests.model import Model


def notes(count: int, **fields: Any) -> list[bytes]:
    """Valid events of so many activities."""
    return [
        record(event(activity("Note", id=f"acti_{number}", **fields), id=f"ev_{number}"))
        for number in range(count)
    ]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_applied(group: Group, codec: str) -> None:
    await group.publish(notes(50), compression_type=codec, linger_ms=5)

    async with group.member():
        await group.until_worked_off()

    assert len(group.expected()["orga_1"]) == 50
    await group.check()


async def test_aborted_transaction_leaves_nothing(group: Group) -> None:
    topic = group.topics.names[0]
    kept, aborted = notes(20), notes(20, note="aborted")
    async with group.producer(transactional_id=group.topics.group_id) as producer:
        async with producer.transaction():
            for value in kept[:10]:
                await producer.send(topic, value)
        await producer.begin_transaction()
        for value in aborted:
            await producer.send(topic, value)
        await producer.abort_transaction()
        async with producer.transaction():
            for value in kept[10:]:
                await producer.send(topic, value)
    for value in kept:
        group.model.apply(value)

    async with group.member():
        await group.until_worked_off()

    await group.check()


async def test_null_values_are_passed_over(group: Group) -> None:
    await group.publish([None, *notes(3), None])

    async with group.member():
        await group.until_worked_off()

    await group.check()


async def test_any_headers_are_taken(group: Group) -> None:
    headers = [("", b""), ("trace", None), ("trace", b"\xff"), ("activity.attempt", b"many")]
    async with group.producer() as producer:
        for value in notes(3):
            group.model.apply(value)
            await producer.send_and_wait(group.topics.names[0], value, headers=headers)

    async with group.member():
        await group.until_worked_off()

    await group.check()


async def test_partitions_added_while_running_are_read(group: Group) -> None:
    async with group.member(group.kafka(metadata_max_age_seconds=0.2)):
        await group.publish(notes(5))
        await group.until_worked_off()
        await group.add_partitions(4)
        await group.publish(notes(40, note="later"), key=lambda _: None)
        await group.until_worked_off()

    await group.check()


async def test_members_share_many_partitions(kafka_server: Any, mongo: Mongo) -> None:
    topics = await new_topics(kafka_server.bootstrap_servers, topics=1, partitions=7)
    group = Group(topics, mongo)
    events = [record(one) for one in realistic_events(3, 300)]

    async with group.member(), group.member(), group.member():
        await group.publish([*events, *BAD_RECORDS["invalid_json"]])
        await group.until_worked_off()

    await group.check()


async def test_records_of_more_than_a_fetch_are_taken(group: Group) -> None:
    large = notes(3, note="x" * 3 * 1024 * 1024)
    await group.publish(large)

    async with group.member(max_bytes_in_flight=1024 * 1024):
        await group.until_worked_off()

    await group.check()


async def test_too_large_records_are_set_aside(group: Group) -> None:
    group.model = Model(max_record_bytes=2000)
    await group.publish([*notes(3), *notes(1, note="x" * 3000)])

    async with group.member(max_record_bytes=2000):
        await group.until_worked_off()

    await group.check()
