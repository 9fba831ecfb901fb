"""Dead letters that their topic refuses: each ends, and is sent once (contract 1.6)."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from prometheus_client import REGISTRY

from consumers.dead_letters import DeadLetterProducer, Headers, Letter
from consumers.dispatch import Dispatch
from deploy.local.kafka import administration
from service.settings import MongoSettings
from tests.factories import activity, event, record
from tests.ingest.group import Group, environment, spawn

MESSAGE = "__connect.errors.exception.message"


async def configure(group: Group, **settings: str) -> None:
    """Give the dead-letter topic these settings; `_` stands for a dot."""
    named = {name.replace("_", "."): value for name, value in settings.items()}
    topic = ConfigResource(ConfigResourceType.TOPIC, group.topics.dead_letter, named)
    async with administration(group.topics.bootstrap_servers) as admin:
        await admin.alter_configs([topic])


def letter_to(group: Group, number: int, key: bytes | None, value: bytes) -> Letter:
    headers: Headers = [
        (MESSAGE, b"why"),
        ("activity.error.code", b"invalid_json"),
        ("trace", b"1"),
    ]
    source = ConsumerRecord("calls", 3, number, 0, 0, key, value, None, 0, len(value), ())
    return Letter(group.topics.dead_letter, source, headers)


@asynccontextmanager
async def dispatch_of(group: Group, *letters: Letter) -> AsyncIterator[Dispatch]:
    async with DeadLetterProducer(group.kafka()) as producer:
        yield Dispatch(producer, letters)


def bare_count(refusal: str) -> float:
    name = "activity_dead_letters_without_value_total"
    return REGISTRY.get_sample_value(name, {"refusal": refusal}) or 0.0


INCOMPRESSIBLE = random.Random(1).randbytes(5000)


@pytest.mark.parametrize(
    ("settings", "key", "value", "refusal"),
    [
        ({"cleanup_policy": "compact"}, None, b"{", "InvalidRecordError"),
        ({"max_message_bytes": "3000"}, b"key", INCOMPRESSIBLE, "MessageSizeTooLargeError"),
        ({"max_message_bytes": "3000"}, INCOMPRESSIBLE, b"{", "MessageSizeTooLargeError"),
    ],
    ids=["no key on a compacted topic", "too large", "too large a key"],
)
async def test_refused_letter_goes_without_its_value(
    group: Group, settings: dict[str, str], key: bytes | None, value: bytes, refusal: str
) -> None:
    await configure(group, **settings)
    before = bare_count(refusal)
    neighbours = [letter_to(group, number, b"n", b"[") for number in (1, 3)]
    refused = letter_to(group, 2, key, value)

    async with dispatch_of(group, neighbours[0], refused, neighbours[1]) as dispatch:
        await dispatch.attempt()

    letters = {letter.key: letter for letter in await group.dead_letters()}
    bare = letters.pop(b"calls[3]@2")
    assert bare.value is None
    assert dict(bare.headers)["activity.error.code"] == b"invalid_json"
    assert dict(bare.headers)[MESSAGE].startswith(b"why; ")
    assert dict(bare.headers)[MESSAGE].endswith(refusal.encode())
    assert "trace" not in dict(bare.headers)
    assert [letter.value for letter in letters.values()] == [b"["]
    assert len(await group.dead_letters()) == 3
    assert bare_count(refusal) == before + 1


async def test_letter_whose_time_is_refused_goes_without_a_time(group: Group) -> None:
    """As where this machine's clock is hours ahead of the broker's."""
    await configure(group, message_timestamp_before_max_ms="1")
    late = letter_to(group, 1, b"key", b"{")
    late = Letter(late.topic, late.record, late.headers, timestamp_ms=1_700_000_000_000)

    async with dispatch_of(group, late) as dispatch:
        await dispatch.attempt()

    (letter,) = await group.dead_letters()
    assert (letter.key, letter.value, letter.timestamp) == (b"key", b"{", -1)


async def test_what_has_arrived_is_not_sent_again(group: Group) -> None:
    """While one is not taken in any form, until an operator gives it room."""
    await configure(group, max_message_bytes="150")
    small = [letter_to(group, number, b"n", b"[") for number in range(3)]
    small = [Letter(one.topic, one.record, []) for one in small]
    large = letter_to(group, 9, b"key", INCOMPRESSIBLE)

    async with dispatch_of(group, small[0], large, *small[1:]) as dispatch:
        for _ in range(3):
            with pytest.raises(MessageSizeTooLargeError):
                await dispatch.attempt()
        assert [letter.value for letter in await group.dead_letters()] == [b"["] * 3
        await configure(group, max_message_bytes="10000")
        await dispatch.attempt()

    assert [letter.value for letter in await group.dead_letters()] == [b"["] * 3 + [INCOMPRESSIBLE]


async def test_partition_goes_on_behind_a_letter_that_is_refused(
    group: Group, mongo_settings: MongoSettings
) -> None:
    """And what reads the letters survives it, whatever its time."""
    await configure(
        group, cleanup_policy="compact", message_timestamp_after_max_ms="9000000000000000000"
    )
    good = [record(event(activity("Note", id=f"acti_{number}"))) for number in range(20)]
    await group.publish([*good, b"{"], key=lambda _: None)
    odd = [("activity.error.code", b"invalid_json")]
    async with group.producer() as producer:
        for time in (1_700_000_000_000_000, -1):
            await producer.send(
                group.topics.dead_letter, b"odd", key=b"%d" % time, headers=odd, timestamp_ms=time
            )
    settings = environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)

    async with group.member():
        await group.until_worked_off()

    assert await group.stored() == group.expected()
    letters = [letter for letter in await group.dead_letters() if letter.value is None]
    place = dict(letters[0].headers)["__connect.errors.offset"].decode()
    topic = dict(letters[0].headers)["__connect.errors.topic"].decode()
    partition = dict(letters[0].headers)["__connect.errors.partition"].decode()
    status, listed, _ = await command(settings, "list")
    shown = await command(settings, "show", topic, partition, place)
    missing = await command(settings, "show", topic, partition, "99")
    replayed = await command(settings, "replay")
    assert status == 0
    assert len(listed.splitlines()) == 3
    assert sorted(line.split("  ")[0] for line in listed.splitlines()) == [
        "-",
        "-",
        "1700000000000000 ms",
    ]
    assert shown[:2] == (0, "")
    assert f"{topic}[{partition}]@{place}" in shown[2]
    assert missing[0] == 1
    assert replayed[:2] == (0, "0 distinct records published\n")
    assert "1 dead letters have no value: passed over" in replayed[2]


async def test_show_gives_the_value_as_it_came(group: Group, mongo_settings: MongoSettings) -> None:
    settings = environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)
    async with group.producer() as producer:
        sent = await producer.send_and_wait(group.topics.names[0], b"{\x1b[0m", key=b"k")
    async with group.member():
        await group.until_worked_off()

    status, output, errors = await command(
        settings, "show", sent.topic, str(sent.partition), str(sent.offset)
    )

    assert (status, output) == (0, "{\x1b[0m\n")
    assert "activity.error.code: invalid_json" in errors


async def command(settings: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    process = await spawn(settings, "dead-letters", *arguments)
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()
