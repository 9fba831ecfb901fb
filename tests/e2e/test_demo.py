"""The demo shows what is so, and says when it is not."""

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from deploy.local.demo.display import Display
from deploy.local.kafka import administration
from deploy.local.processes import find_free_port
from deploy.local.stack import Kafka, Mongo

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


async def test_pasted_lines_are_answered_until_ctrl_c(environment: dict[str, str]) -> None:
    async with running_demo(environment) as demo:
        lines = [line async for line in read_until_serving(demo)]
        requests = [shlex.split(line) for line in lines if line.startswith("curl ")]

        statuses = [await status_of(request) for request in requests]
        demo.send_signal(signal.SIGINT)
        _, complaint = await finish(demo)

    assert (len(requests), set(statuses)) == (7, {200})
    assert (demo.returncode, complaint) == (0, "")


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


async def read_until_serving(demo: Process) -> AsyncIterator[str]:
    assert demo.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in demo.stdout:
            yield line.decode().strip()
            if b"Serving until Ctrl-C" in line:
                return
    raise AssertionError("it ended by itself")


async def status_of(request: list[str]) -> int:
    """What a line `curl -s [-u KEY:] URL` is answered with."""
    headers = {}
    if "-u" in request:
        user, password = request[request.index("-u") + 1].split(":")
        headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(request[-1]) as answer,
    ):
        return answer.status
