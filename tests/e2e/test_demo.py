"""The demo shows what is so, and says when it is not."""

import asyncio
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from deploy.local.demo.display import Display
from deploy.local.demo.playground import until_one_has_ended
from deploy.local.kafka import administration
from deploy.local.prerequisites import find_java, find_kafka_jars
from deploy.local.processes import Server, find_free_port
from deploy.local.stack import Kafka, Mongo, running
from tests.e2e.road import until

PROJECT = Path(__file__).parents[2]
DEADLINE_SECONDS = 90


@pytest.fixture
def environment(mongo_server: Mongo, kafka_server: Kafka) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "ACTIVITY_" not in name}
    return inherited | {
        "ACTIVITY_MONGO_URL": mongo_server.url,
        "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": kafka_server.bootstrap_servers,
    }


async def test_every_claim_holds_and_nothing_is_left_behind(
    environment: dict[str, str], mongo_server: Mongo, kafka_server: Kafka
) -> None:
    async with running_demo(environment, "--once") as demo:
        output, complaint = await finish(demo)

    assert (demo.returncode, complaint) == (0, ""), output
    assert "claims hold." in output
    async with AsyncMongoClient[dict[str, str]](mongo_server.url) as client:
        assert [name for name in await client.list_database_names() if "demo" in name] == []
    async with administration(kafka_server.bootstrap_servers) as admin:
        assert [name for name in await admin.list_topics() if "demo" in name] == []


async def test_playground_answers_publishes_and_tells_rejections_until_ctrl_c(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The pasted lines, and the roads of the producer's page as printed there."""
    async with running_demo(environment) as demo:
        lines = [line async for line in read_until(demo, "Serving until Ctrl-C")]
        requests = [shlex.split(one) for one in lines if one.startswith("curl ") and "$" not in one]
        statuses = [await status_of(request) for request in requests]
        variables = environment | pasted_variables(lines) | {"PATH": with_kafka_tools(tmp_path)}

        await something_happens_on_the_page(lines, variables)
        told = [await run(road, variables) for road in roads()]
        await until_listed(
            variables, {"acti_first", "acti_example_call", "acti_example_email_third"}
        )
        pasted = "\n".join(lines[lines.index(PASTED_FIRST) : lines.index(PASTED_LAST) + 1])
        await run(["bash", "-ec", pasted.replace("kcat ", ": ")], variables)
        await run(["bash", "-ec", BAD_EVENT], variables)
        rejection = [line async for line in read_until(demo, "dead letter: ")][-1]
        demo.send_signal(signal.SIGINT)
        _, complaint = await finish(demo)

    assert (len(requests), set(statuses)) == (7, {200})
    assert told[0].startswith("15 published: ")
    assert "event ev_example_note of orga_demo: applied: this is how it stands" in told[4]
    assert "-:1: invalid_event: data.users: a list of strings" in told[5]
    assert rejection.startswith("dead letter: invalid_event, object_id: required, an id; ")
    assert (demo.returncode, complaint) == (0, "")


PASTED_FIRST = ".venv/bin/activity-consumers publish examples/events.jsonl"
PASTED_LAST = ".venv/bin/activity-consumers explain --organization orga_demo ev_example_note"
# `publish` would not send it.
BAD_EVENT = """echo '{"object_type": "activity.note", "id": "ev_1"}' |
    kafka-console-producer.sh --bootstrap-server "$ACTIVITY_KAFKA_BOOTSTRAP_SERVERS" \\
        --topic "${ACTIVITY_KAFKA_TOPICS##*,}" """


def pasted_variables(lines: Sequence[str]) -> dict[str, str]:
    exports = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
    return dict(one.split("=", 1) for one in exports)


def roads() -> list[list[str]]:
    """The commands of the page's first section, in their order."""
    page = (PROJECT / "docs" / "events.md").read_text(encoding="utf-8")
    section = page.split("## Five minutes")[1].split("\n## ")[0]
    shells = {"sh": ["bash", "-ec"], "python": [sys.executable, "-c"]}
    fences = re.findall(r"^```(sh|python)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [[*shells[language], code] for language, code in fences]


def with_kafka_tools(folder: Path) -> str:
    """A `PATH` on which Kafka's console producer is, as a download of Kafka has it."""
    tool = folder / "kafka-console-producer.sh"
    command = f"exec {find_java()} -cp '{find_kafka_jars()}/*'"
    tool.write_text(f'#!/bin/sh\n{command} org.apache.kafka.tools.ConsoleProducer "$@"\n')
    tool.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


async def run(command: Sequence[str], environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PROJECT, env=environment, stdout=PIPE, stderr=PIPE
    )
    output, complaint = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
    assert process.returncode == 0, (command, complaint.decode())
    return output.decode()


async def something_happens_on_the_page(lines: Sequence[str], variables: dict[str, str]) -> None:
    (address,) = [line for line in lines if "/timeline/#key=" in line]
    assert await status_of(["curl", address]) == 200
    newest = ["curl", "-s", "-u", f"{variables['KEY']}:", f"{variables['URL']}/activity/?_limit=1"]
    before = await answer_to(newest)

    async def is_another() -> bool:
        return bool(await answer_to(newest) != before)

    await until(is_another)


async def until_listed(variables: dict[str, str], ids: set[str]) -> None:
    request = ["curl", "-s", "-u", f"{variables['KEY']}:"]
    url = f"{variables['URL']}/activity/?lead_id=lead_harbour&_fields=id"

    async def are_listed() -> bool:
        answer = await answer_to([*request, url])
        return ids <= {row["id"] for row in answer["data"]}

    await until(are_listed)


class Sleeper(Server):
    """A process of its own that does nothing."""

    name = "The sleeper"
    error_pattern = re.compile("why")

    async def _prepare(self) -> Sequence[str | Path]:
        return ["/bin/sh", "-c", "echo this is why; exec sleep 60"]

    async def _answers(self) -> bool:
        return "why" in self.log_path.read_text()


async def test_process_that_ends_is_told_of_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    display, sleepers = Display(), [Sleeper(tmp_path / "one"), Sleeper(tmp_path / "two")]
    async with running(*sleepers):
        watching = asyncio.create_task(until_one_has_ended(display, sleepers))
        os.kill(sleepers[1].pid, signal.SIGKILL)

        await asyncio.wait_for(watching, DEADLINE_SECONDS)

    said = capsys.readouterr().out
    assert f"The sleeper has ended; its log is {tmp_path}/two/server.log" in said
    assert "this is why" in said
    assert display.conclude() == 1


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("ACTIVITY_MONGO_URL", "mongodb://127.0.0.1:{port}", "MongoDB cannot be reached: "),
        (
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS",
            "127.0.0.1:{port}",
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: cannot work with Kafka at 127.0.0.1:",
        ),
        ("ACTIVITY_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:x", "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: "),
    ],
)
async def test_servers_that_are_not_there_are_one_line(
    environment: dict[str, str], variable: str, value: str, complaint: str
) -> None:
    environment[variable] = value.format(port=find_free_port())

    async with running_demo(environment, "--once") as demo:
        output, said = await finish(demo)

    assert demo.returncode == 1
    assert said.startswith(complaint)
    assert len(said.splitlines()) == 1
    assert "are up" not in output


def test_broken_claim_ends_the_demo_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.claim("water is wet", is_so=True)
    display.claim("fire is cold", is_so=False)

    assert display.conclude() == 1
    assert "Not so: fire is cold" in capsys.readouterr().out


@asynccontextmanager
async def running_demo(environment: dict[str, str], *options: str) -> AsyncIterator[Process]:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.demo", *options),
        cwd=PROJECT,
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield demo
    finally:
        if demo.returncode is None:
            demo.terminate()
            await demo.wait()


async def finish(demo: Process) -> tuple[str, str]:
    output, complaint = await asyncio.wait_for(demo.communicate(), DEADLINE_SECONDS)
    return output.decode(), complaint.decode()


async def read_until(demo: Process, words: str) -> AsyncIterator[str]:
    assert demo.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in demo.stdout:
            yield line.decode().rstrip()
            if words.encode() in line:
                return
    raise AssertionError("it ended by itself")


async def status_of(request: list[str]) -> int:
    """What a line `curl -s [-u KEY:] URL` is answered with."""
    async with session_of(request) as session, session.get(request[-1]) as answer:
        return answer.status


async def answer_to(request: list[str]) -> Any:
    async with session_of(request) as session, session.get(request[-1]) as answer:
        return await answer.json()


def session_of(request: list[str]) -> aiohttp.ClientSession:
    headers = {}
    if "-u" in request:
        user, password = request[request.index("-u") + 1].split(":")
        headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
    return aiohttp.ClientSession(headers=headers)
