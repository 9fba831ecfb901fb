"""Records that can never be applied, set aside alone and published again (contract 1.6)."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from consumers.batch import Batch, BatchLimits
from consumers.dead_letters import DeadLetterProducer
from consumers.deadlines import cancel
from consumers.fuse import MIN_DEAD_LETTERS, Fuse, Judged
from consumers.health import Health
from consumers.patience import Patience
from consumers.replay import Replay, Selection, plan_replay, replay
from consumers.writer import Writer
from deploy.local.kafka import administration
from service.errors import Halted
from service.settings import MongoSettings
from service.store.mongo import Mongo
from service.store.writes import MAX_DOCUMENT_BYTES, encode_change
from tests.factories import BAD_RECORDS, WRAPPINGS, activity, event, record
from tests.ingest.group import Group, environment, spawn, until
from tests.store.conversations import setting, to_change

ALL_BAD = [value for values in BAD_RECORDS.values() for value in values]


def note(id_: str, minute: int = 1, **fields: Any) -> bytes:
    at = f"2026-01-02T10:{minute:02}:00+00:00"
    own = {"id": f"ev_{id_}_{minute}", "date_updated": at}
    return record(event(activity("Note", id=id_, **fields), **own))


def headers_of(letter: ConsumerRecord) -> dict[str, bytes]:
    return dict(letter.headers)


async def test_every_bad_record_is_set_aside_alone(group: Group) -> None:
    good = [note(f"acti_{number}") for number in range(len(ALL_BAD))]
    mixed = [value for pair in zip(good, ALL_BAD, strict=True) for value in pair]
    await group.publish(mixed)

    async with group.member(dead_letter_max_ratio=1):
        await group.until_worked_off()

    assert len(group.expected()["orga_1"]) == len(good)
    await group.check()
    codes = {
        letter.value: headers_of(letter)["activity.error.code"]
        for letter in await group.dead_letters()
    }
    assert codes == {value: code.encode() for value, code in group.model.dead_letters}


async def test_dead_letter_says_what_it_was_and_why(group: Group) -> None:
    bad = record(event(object_id="acti_1", id="ev_7") | {"data": None})
    carried = [("trace", b"\x00\xff"), ("trace", None), ("activity.error.code", b"mine")]
    async with group.producer() as producer:
        sent = await producer.send_and_wait(
            group.topics.names[1], bad, key=b"\x00key", headers=carried
        )

    async with group.member():
        await group.until_worked_off()

    (letter,) = await group.dead_letters()
    assert (letter.key, letter.value) == (b"\x00key", bad)
    assert letter.headers[:2] == (("trace", b"\x00\xff"), ("trace", None))
    added = dict(letter.headers[2:])
    assert len(added) == len(letter.headers) - 2
    assert added.pop("__connect.errors.exception.message")
    assert added == {
        "__connect.errors.topic": group.topics.names[1].encode(),
        "__connect.errors.partition": b"%d" % sent.partition,
        "__connect.errors.offset": b"%d" % sent.offset,
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.exception.class.name": b"service.errors.Rejected",
        "activity.error.code": b"invalid_event",
        "activity.organization_id": b"orga_1",
        "activity.event_id": b"ev_7",
        "activity.attempt": b"1",
    }


async def test_refused_document_gives_way_to_the_older_one(group: Group) -> None:
    beyond_16_mebibytes = note("acti_1", 2, filler=[0] * 1_400_000)
    async with group.producer() as producer:
        await producer.send(group.topics.names[0], note("acti_1", 1), partition=0)
        await producer.send(group.topics.names[0], beyond_16_mebibytes, partition=0)
        await producer.send(group.topics.names[0], note("acti_2", 1), partition=0)
    group.model.apply(note("acti_1", 1))
    group.model.apply(note("acti_2", 1))

    async with group.member():
        await group.until_worked_off()

    assert await group.stored() == group.expected()
    (letter,) = await group.dead_letters()
    assert letter.value == beyond_16_mebibytes
    assert headers_of(letter)["activity.error.code"] == b"too_large"


def batch_of(*values: bytes) -> Batch:
    batch = Batch(BatchLimits(max_records=60, max_bytes=10**9, max_record_bytes=10**9))
    records = [ConsumerRecord("t", 0, 0, 0, 0, None, one, None, 0, 1, ()) for one in values]
    taken = 0
    while taken < len(records):
        taken = batch.fill(records, taken)
    return batch


@asynccontextmanager
async def lone_writer(group: Group) -> AsyncIterator[Writer]:
    """A writer that no consumer feeds."""
    async with DeadLetterProducer(group.kafka()) as producer:
        yield Writer(
            group.mongo,
            producer,
            group.topics.dead_letter,
            Fuse(0.5),
            Health(),
            Patience(300),
            retry_max_seconds=0.1,
            stop=asyncio.Event(),
        )


async def test_document_that_mongodb_refuses_gives_way_to_the_older_one(group: Group) -> None:
    """It just fits, and no longer does with the thread that it has left."""
    first, second = (record(setting("acti_1", n, thread_id="acti_t")) for n in (1, 2))
    text = setting("acti_1", 3)["data"]["body_text"]
    moved = to_change(setting("acti_1", 3, thread_id="acti_u", body_text=text))
    spare = MAX_DOCUMENT_BYTES - len(encode_change(moved).document)
    largest = record(setting("acti_1", 3, thread_id="acti_u", body_text=text + "x" * spare))
    group.model.apply(first)
    group.model.apply(second)

    async with lone_writer(group) as writer:
        await writer.write(batch_of(first))
        await writer.write(batch_of(second, largest))

    assert await group.stored() == group.expected()
    (letter,) = await group.dead_letters()
    assert letter.value == largest
    assert headers_of(letter)["activity.error.code"] == b"too_large"


async def test_fuse_counts_the_batches_without_dead_letters(group: Group) -> None:
    async with lone_writer(group) as writer:
        for _ in range(MIN_DEAD_LETTERS):
            await writer.write(batch_of(note("acti_1")))
            await writer.write(batch_of(b"{"))

    assert len(await group.dead_letters()) == MIN_DEAD_LETTERS


async def test_fuse_stops_the_line_before_it_is_drained(group: Group) -> None:
    async with group.producer(linger_ms=5) as producer:
        for number in range(3000):
            await producer.send(group.topics.names[0], b"{", key=b"%d" % number)

    with pytest.raises(Halted, match="ACTIVITY_DEAD_LETTER_MAX_RATIO"):
        async with group.member() as member:
            await asyncio.wait({member.task}, timeout=30)

    assert await group.dead_letters() == []
    assert sum((await group.lag()).values()) == 3000


async def test_faulty_producer_of_one_tenant_stops_no_other(group: Group) -> None:
    ill = [note(f"acti_{number}", organization_id="orga_ill", users=5) for number in range(400)]
    well = [note(f"acti_{number}") for number in range(50)]
    await group.publish([*well[:25], *ill, *well[25:]], linger_ms=5)

    async with group.member():
        await group.until_worked_off()

    await group.check()


async def test_one_bad_record_in_a_hundred_does_not_blow_the_fuse(group: Group) -> None:
    values = [b"{" if number % 100 == 0 else note(f"acti_{number}") for number in range(2000)]
    await group.publish(values, linger_ms=5)

    async with group.member():
        await group.until_worked_off()

    assert len(await group.dead_letters()) == 20


@pytest.fixture
async def refusing_topic(group: Group) -> AsyncIterator[str]:
    """It takes no record of more than a few bytes."""
    name = f"{group.topics.dead_letter}.tiny"
    async with administration(group.topics.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "50"})])
        yield name
        await admin.delete_topics([name])


async def test_a_batch_that_comes_again_counts_once_for_the_fuse(
    group: Group, mongo: Mongo, refusing_topic: str
) -> None:
    """Its dead letters cannot be published, and it is given up, as a rebalance does it."""
    bad = ConsumerRecord("calls", 0, 0, 0, 0, None, b"{", None, 0, 1, ())
    batch = Batch(BatchLimits(max_records=60, max_bytes=1000, max_record_bytes=1000))
    batch.fill([bad] * 60, 0)
    fuse, health, stop = Fuse(0.5), Health(), asyncio.Event()

    async def is_refused() -> bool:
        return health.is_out("dead_letters")

    async with DeadLetterProducer(group.kafka()) as producer:
        writer = Writer(
            mongo,
            producer,
            refusing_topic,
            fuse,
            health,
            Patience(300),
            retry_max_seconds=0.1,
            stop=stop,
        )
        for _ in range(2):
            write = asyncio.create_task(writer.write(batch))
            await until(is_refused)
            await cancel([write])
            health.recover("dead_letters")

        with fuse.judged([Judged(True)] * 99):
            pass
        with pytest.raises(Halted), fuse.judged([Judged(True)]):
            pass


@pytest.fixture
def command_environment(group: Group, mongo_settings: MongoSettings) -> dict[str, str]:
    return environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)


async def run_command(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await spawn(environment, "dead-letters", *arguments)
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_list_shows_each_with_its_reason(
    group: Group, command_environment: dict[str, str]
) -> None:
    secret = "nobody may read this"
    await group.publish([b"{", record(event({"note": secret}, organization_id="orga_2"))])
    async with group.member():
        await group.until_worked_off()

    status, everything, _ = await run_command(command_environment, "list")
    _, of_one, counted = await run_command(
        command_environment, "list", "--organization", "orga_2", "--code", "invalid_activity"
    )

    assert status == 0
    assert len(everything.splitlines()) == 2
    assert [line.split()[1] for line in of_one.splitlines()] == ["invalid_activity"]
    assert counted.endswith("1 dead letters\n")
    assert secret not in everything


async def test_replay_publishes_each_distinct_record_once(
    group: Group, command_environment: dict[str, str]
) -> None:
    """What was refused for its size is applied once the limit is raised."""
    large = [note(f"acti_{number}", filler="x" * 2000) for number in range(3)]
    await group.publish([*large, b"{"])
    kept = [("trace", b"1")]
    async with group.producer() as producer:
        for _ in range(2):  # the same record twice: one distinct dead letter
            await producer.send_and_wait(group.topics.names[0], large[0], key=b"0", headers=kept)
    async with group.member(max_record_bytes=1500):
        await group.until_worked_off()
    assert len(await group.dead_letters()) == 6

    dry = await run_command(command_environment, "replay", "--code", "too_large", "--dry-run")
    wet = await run_command(command_environment, "replay", "--code", "too_large")
    async with group.member():
        await group.until_worked_off()

    assert dry[:2] == (0, "3 distinct records would be published\n")
    assert wet[:2] == (0, "3 distinct records published\n")
    assert await group.stored() == group.expected()
    assert len(await group.dead_letters()) == 6


async def test_wrapped_records_keep_their_bytes_and_are_replayed(
    group: Group, command_environment: dict[str, str]
) -> None:
    """Too large at first, then applied: each in another wrapping, and one that has none."""
    rows = [activity("Note", id=f"acti_{number}", filler="x" * 2000) for number in range(5)]
    events = [event(row, id=f"ev_{number}") for number, row in enumerate(rows)]
    values = [wrap(one) for wrap, one in zip([*WRAPPINGS, record], events, strict=True)]
    await group.publish(values)
    async with group.member(max_record_bytes=1500):
        await group.until_worked_off()

    letters = [letter.value for letter in await group.dead_letters()]
    replayed = await run_command(command_environment, "replay")
    async with group.member():
        await group.until_worked_off()

    assert sorted(letters) == sorted(values)
    assert replayed[:2] == (0, "5 distinct records published\n")
    assert await group.stored() == group.expected()
    assert len(group.expected()["orga_1"]) == 5


async def test_replay_goes_on_after_a_record_that_its_topic_refuses(
    group: Group, command_environment: dict[str, str]
) -> None:
    topic, incompressible = group.topics.names[0], random.Random(1).randbytes(3000)
    async with group.producer() as producer:
        for value in (b"{", incompressible, b"["):
            await producer.send_and_wait(topic, value, partition=0)
    async with group.member():
        await group.until_worked_off()
    async with administration(group.topics.bootstrap_servers) as admin:
        small = {"max.message.bytes": "200"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, small)])

    status, output, errors = await run_command(command_environment, "replay")

    assert (status, output) == (1, "2 distinct records published\n")
    refused, summary = errors.splitlines()[-2:]
    assert refused.startswith("refused by its topic: ")
    assert f"invalid_json           {topic}[0]@1 " in refused
    assert refused.endswith("MessageSizeTooLargeError")
    assert summary == "Error: 1 dead letters were refused by their topics"


async def test_replay_holds_a_few_mebibytes_at_a_time(group: Group) -> None:
    async with group.producer() as producer:
        for number in range(6):
            value = b"{%d" % number + b" " * 1024 * 1024
            await producer.send_and_wait(group.topics.names[0], value)
    async with group.member():
        await group.until_worked_off()
    together: list[int] = []
    plan = await plan_replay(group.kafka(), Selection())
    plan.attempts[b"nobody's"] = 1

    done = Replay()
    await replay(group.kafka(), Selection(), plan, done, together.append)

    assert together == [4, 2]
    assert done == Replay(published=6, gone=1)


async def test_replayed_record_that_fails_again_counts_its_attempts(
    group: Group, command_environment: dict[str, str]
) -> None:
    await group.publish([b"{"])
    async with group.member():
        await group.until_worked_off()
        for _ in range(2):
            await run_command(command_environment, "replay")
            await group.until_worked_off()

            async def is_set_aside() -> bool:
                return not any((await group.lag()).values())

            await until(is_set_aside)

    attempts = [headers_of(letter)["activity.attempt"] for letter in await group.dead_letters()]
    assert attempts == [b"1", b"2", b"3"]


async def test_missing_dead_letter_topic_is_one_line(
    command_environment: dict[str, str],
) -> None:
    missing = command_environment | {"ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": "nowhere"}

    status, _, errors = await run_command(missing, "list")

    assert status == 1
    assert errors == "Error: ACTIVITY_KAFKA_DEAD_LETTER_TOPIC: there is no topic nowhere\n"


async def test_unreachable_kafka_is_one_line(command_environment: dict[str, str]) -> None:
    nobody = command_environment | {"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    status, _, errors = await run_command(nobody, "replay")

    assert status == 1
    assert errors.startswith("Error: ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: ")
    assert len(errors.splitlines()) == 1
