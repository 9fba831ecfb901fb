"""`publish` sends the events of files to their topics (contract 4)."""

import gzip
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.kafka import create_topics, delete_topics
from deploy.local.processes import find_free_port
from service.activities.examples import LEAD
from service.settings import MongoSettings
from tests.factories import activity, event, record
from tests.ingest.group import Group, environment, spawn

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def variables(group: Group, mongo_settings: MongoSettings) -> dict[str, str]:
    return environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)


@pytest.fixture
async def narrow_topic(group: Group) -> AsyncIterator[str]:
    """It takes no record of more than a kilobyte."""
    name = f"{group.topics.dead_letter}.narrow"
    await create_topics(group.topics.bootstrap_servers, [name], max_message_bytes=1000)
    yield name
    await delete_topics(group.topics.bootstrap_servers, [name])


async def publish(
    variables: dict[str, str], *arguments: str, given: bytes = b""
) -> tuple[int, str, str]:
    process = await spawn(variables, "publish", *arguments, has_input=True)
    output, errors = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def read_all(group: Group) -> list[ConsumerRecord]:
    partitions = [TopicPartition(name, number) for name in group.topics.names for number in (0, 1)]
    found: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(bootstrap_servers=group.topics.bootstrap_servers) as consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    return found


async def test_examples_are_published_and_applied(group: Group, variables: dict[str, str]) -> None:
    """Twice: what is there already is not doubled. Wrapped events are the plain ones."""
    files = [str(EXAMPLES / name) for name in ("events.jsonl", "conversation.jsonl")]
    wrapped = [str(EXAMPLES / name) for name in ("cloudevent.json", "connect.json", "webhook.json")]
    wrapped.append(str(EXAMPLES / "framed.bin"))

    first = await publish(variables, *files)
    second = await publish(variables, *wrapped, *files, str(EXAMPLES / "deleted.json"))
    async with group.member():
        await group.until_worked_off()

    assert (first[0], second[0]) == (0, 0)
    assert first[1] == f"18 published: 18 to {group.topics.names[-1]}\n"
    records = await read_all(group)
    assert {record.key for record in records} == {LEAD.encode()}
    assert sorted(record.value for record in records if record.value[:1] == b"\0") == [
        (EXAMPLES / "framed.bin").read_bytes()
    ]
    for one in records:
        group.model.apply(one.value)
    await group.check()


async def test_what_cannot_be_applied_is_listed_and_not_sent(
    group: Group, variables: dict[str, str]
) -> None:
    odd = event(activity("Call") | {"duration": "forty two"})
    lines = [b"{", record(odd), record({"object_type": "lead"}), record({"object_type": "call"})]

    status, output, errors = await publish(variables, "-", given=b"\n".join(lines))

    assert status == 1
    assert output == f"1 published: 1 to {group.topics.names[-1]}\n"
    assert [line.split("  ")[0] for line in errors.splitlines()[1:]] == [
        "-:2: warning: data.duration: a whole number is meant; kept as it came",
        "-:4: unknown_type: object_type: 'call' is not known: 'activity.call' is meant",
        "1 applied (1 with warnings), 1 ignored, 2 rejected (1 invalid_json, 1 unknown_type)",
    ]
    assert errors.startswith("-:1: invalid_json: ")
    assert [one.value for one in await read_all(group)] == [record(odd)]


async def test_dry_run_asks_no_server(variables: dict[str, str]) -> None:
    servers = {"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{find_free_port()}"}
    topics = {"ACTIVITY_KAFKA_TOPICS": "crm.calls,crm.events"}
    path = str(EXAMPLES / "events.jsonl")

    status, output, errors = await publish(variables | servers | topics, path, "--dry-run")

    assert (status, errors) == (0, "")
    assert output == "15 would be published: 1 to crm.calls, 14 to crm.events\n"


async def test_rate_is_kept(group: Group, variables: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    note = {"date_created": "2026-01-02"}
    path.write_bytes(
        gzip.compress(b"\n".join(record(event({**note, "id": f"acti_{n}"})) for n in range(40)))
    )
    began = time.monotonic()

    status, output, _ = await publish(variables, str(path), "--rate", "40")

    assert (status, output.split(":")[0]) == (0, "40 published")
    assert time.monotonic() - began > 1
    assert len(await read_all(group)) == 40


async def test_record_that_its_topic_refuses_hurts_no_other(
    variables: dict[str, str], narrow_topic: str
) -> None:
    lines = [
        record(event(activity(note=random.Random(size).randbytes(size).hex())))
        for size in (10, 5000, 10)
    ]
    variables["ACTIVITY_KAFKA_TOPICS"] = narrow_topic

    status, output, errors = await publish(variables, "-", given=b"\n".join(lines))

    assert (status, output) == (1, f"2 published: 2 to {narrow_topic}\n")
    assert errors.startswith("-:2: refused by its topic: ")


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("ACTIVITY_KAFKA_TOPICS", "Error: ACTIVITY_KAFKA_TOPICS: there is no topic missing"),
        ("ACTIVITY_KAFKA_BOOTSTRAP_SERVERS", "Error: ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: "),
    ],
)
async def test_what_is_not_there_is_one_line(
    variables: dict[str, str], variable: str, complaint: str
) -> None:
    port = find_free_port()
    variables[variable] = "missing" if variable.endswith("TOPICS") else f"127.0.0.1:{port}"

    status, output, errors = await publish(variables, str(EXAMPLES / "events.jsonl"))

    assert (status, output) == (1, "0 published\n")
    assert errors.startswith(complaint)
    assert len(errors.splitlines()) == 1


def test_summary_names_the_lines_of_the_example() -> None:
    """The first lines of the producer's page promise this file."""
    lines = (EXAMPLES / "events.jsonl").read_text().splitlines()

    assert len({json.loads(line)["object_type"] for line in lines}) == 15
