"""A partition that cannot be read is set apart alone (contract 1.5.5)."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from prometheus_client import REGISTRY

from deploy.local.kafka import KafkaServer, administration
from deploy.local.stack import running
from service.settings import MongoSettings
from tests.conftest import new_topics
from tests.factories import activity, event, record
from tests.ingest.faults import flip_byte
from tests.ingest.group import Group, environment, spawn, until


def notes(first: int, count: int) -> list[bytes]:
    numbers = range(first, first + count)
    return [record(event(activity("Note", id=f"acti_{number}"))) for number in numbers]


def is_unreadable(topic: str, partition: int) -> bool:
    labels = {"topic": topic, "partition": str(partition)}
    return REGISTRY.get_sample_value("activity_partitions_unreadable", labels) == 1


def skipped(topic: str, reason: str) -> float:
    labels = {"topic": topic, "reason": reason}
    return REGISTRY.get_sample_value("activity_records_skipped_total", labels) or 0.0


@pytest.fixture
async def broken(group: Group, breakable_kafka_server: KafkaServer) -> Group:
    """The group on a server whose files a test may reach; one record of a partition is damaged."""
    server = breakable_kafka_server
    group.topics = await new_topics(server.bootstrap_servers)
    topic = group.topics.names[0]
    async with group.producer() as producer:
        for value in [*notes(0, 3), b'{"damaged": 1}', *notes(3, 3)]:
            await producer.send_and_wait(topic, value, partition=0)
            if b"damaged" not in value:
                group.model.apply(value)
    flip_byte(server.folder, topic, b"damaged")
    return group


async def test_damaged_batch_holds_up_its_partition_alone(
    broken: Group, mongo_settings: MongoSettings
) -> None:
    group, (topic, other) = broken, broken.topics.names
    before = skipped(topic, "decided")

    async def only_that_one_waits() -> bool:
        lag = await group.lag()
        return lag.pop(TopicPartition(topic, 0)) == 4 and not any(lag.values())

    async with group.member() as member:
        await group.publish(notes(10, 40))
        # What went to the damaged partition comes later.
        async with group.producer() as producer:
            await producer.send_and_wait(other, notes(99, 1)[0])
        group.model.apply(notes(99, 1)[0])

        async def others_are_worked_off() -> bool:
            lag = await group.lag()
            return lag.pop(TopicPartition(topic, 0)) >= 4 and not any(lag.values())

        await until(others_are_worked_off)

        async def is_set_apart() -> bool:
            return is_unreadable(topic, 0)

        await until(is_set_apart)
        assert await member.health.is_ready() is None
        assert f"{topic}[0]@3: a batch is damaged" in (member.health.note() or "")
        settings = environment(
            group, mongo_settings.url.get_secret_value(), mongo_settings.database
        )
        for offset in ("2", "3"):
            skip = await spawn(settings, "skip", topic, "0", offset)
            await skip.communicate()
            assert skip.returncode == 0
        await group.until_worked_off()

        async def is_read_again() -> bool:
            return not is_unreadable(topic, 0)

        await until(is_read_again)
        assert member.health.note() is None

    assert await group.stored() == group.expected()
    assert skipped(topic, "decided") == before + 1


async def test_a_broker_that_is_away_holds_up_its_partitions_alone(
    group: Group, tmp_path: Path
) -> None:
    """Each partition lies on one broker; the group's own positions stay with the first. Both are
    this test's alone: a cluster remembers a broker that is gone."""
    first, second = KafkaServer(tmp_path / "first"), KafkaServer(tmp_path / "second")
    async with AsyncExitStack() as servers:
        await servers.enter_async_context(running(first))
        second.join(first, node_id=2)
        await servers.enter_async_context(running(second))
        topics = await new_topics(first.bootstrap_servers, topics=0)
        topic = f"{topics.group_id}.spread"
        async with administration(first.bootstrap_servers) as admin:
            spread = NewTopic(topic, -1, -1, replica_assignments={0: [1], 1: [2]})
            await admin.create_topics([spread])
        group.topics = replace(topics, names=(topic,))
        kafka = group.kafka(metadata_max_age_seconds=1.0)
        async with group.member(kafka) as member, group.producer() as producer:
            for partition, value in enumerate(notes(0, 2)):
                await producer.send_and_wait(topic, value, partition=partition)
                group.model.apply(value)
            await group.until_worked_off()
            second.kill()

            async def is_set_apart() -> bool:
                return is_unreadable(topic, 1)

            await until(is_set_apart)
            before = process_time()
            for value in notes(2, 20):
                await producer.send_and_wait(topic, value, partition=0)
                group.model.apply(value)

            async def is_stored() -> bool:
                return await group.stored() == group.expected()

            await until(is_stored, 10)
            assert await member.health.is_ready() is None
            print(f"{process_time() - before:.2f} s of CPU")
            await second.start()
            await producer.send_and_wait(topic, notes(30, 1)[0], partition=1)
            group.model.apply(notes(30, 1)[0])
            await group.until_worked_off()

    assert await group.stored() == group.expected()
