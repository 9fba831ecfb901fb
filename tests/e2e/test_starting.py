"""What cannot start says why, in one line that its operator can act on."""

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.processes import find_free_port
from deploy.local.stack import Mongo
from tests.conftest import Topics

PROJECT = Path(__file__).parents[2]
SERVE = ("service", "serve")
INDEXES = ("service", "indexes")
RUN = ("consumers", "run")
DEADLINE_SECONDS = 60

Environment = dict[str, str]


def complaint_of(*command: str, environment: Mapping[str, str]) -> str:
    """Run a command that must fail; answer the one line it says beside its log."""
    inherited = {name: value for name, value in os.environ.items() if "ACTIVITY_" not in name}
    process = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=PROJECT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    assert process.stdout == ""
    (line,) = (line for line in process.stderr.splitlines() if not line.startswith('{"time"'))
    return line


@pytest.fixture
def environment(mongo_server: Mongo, topics: Topics) -> Environment:
    """Settings with which both processes would start, in a database without indexes."""
    return {
        "ACTIVITY_MONGO_URL": mongo_server.url,
        "ACTIVITY_MONGO_DATABASE": f"starting_{secrets.token_hex(6)}",
        "ACTIVITY_MONGO_TIMEOUT_SECONDS": "1",
        "ACTIVITY_CURSOR_SECRET": secrets.token_hex(16),
        "ACTIVITY_HTTP_PORT": "0",
        "ACTIVITY_OPERATIONS_PORT": "0",
        **topics.environment(),
    }


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.fixture
def closed_port() -> str:
    return str(find_free_port())


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        (SERVE, "ACTIVITY_HTTP_PORT", "eighty"),
        (SERVE, "ACTIVITY_HTTP_HOST", "a" * 64),
        (SERVE, "ACTIVITY_RATE_LIMIT", "often"),
        (SERVE, "ACTIVITY_MONGO_URL", "http://localhost"),
        (INDEXES, "ACTIVITY_TOMBSTONE_DAYS", "0"),
        (RUN, "ACTIVITY_BATCH_MAX_RECORDS", "many"),
        (RUN, "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:99999"),
        (RUN, "ACTIVITY_KAFKA_TOPICS", ""),
        (RUN, "ACTIVITY_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
    ],
)
def test_wrong_setting_is_named(
    environment: Environment, command: tuple[str, ...], variable: str, value: str
) -> None:
    complaint = complaint_of(*command, environment={**environment, variable: value})

    assert variable in complaint


def test_missing_cursor_secret_is_named(environment: Environment) -> None:
    del environment["ACTIVITY_CURSOR_SECRET"]

    assert "ACTIVITY_CURSOR_SECRET" in complaint_of(*SERVE, environment=environment)


@pytest.mark.parametrize("command", [SERVE, INDEXES, RUN])
def test_unreachable_mongodb_is_named(
    environment: Environment, command: tuple[str, ...], closed_port: str
) -> None:
    environment["ACTIVITY_MONGO_URL"] = f"mongodb://user:hidden@127.0.0.1:{closed_port}"

    complaint = complaint_of(*command, environment=environment)

    assert "MongoDB" in complaint
    assert closed_port in complaint
    assert "hidden" not in complaint


def test_what_mongodb_refuses_to_read_is_one_line(environment: Environment) -> None:
    environment["ACTIVITY_MONGO_URL"] += "&readConcernLevel=foo"

    assert "readConcern" in complaint_of(*SERVE, environment=environment)


def test_key_that_cannot_be_printed_is_named(environment: Environment) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "service", "keys", "create", "--organization", "orga_1"],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    assert process.returncode == 1
    assert re.fullmatch(
        r"Error: key_[0-9a-f]{24} was made and could not be printed .*: revoke it\n",
        process.stderr,
    )


def test_no_key_is_made_that_nobody_could_read(environment: Environment) -> None:
    create = f"{sys.executable} -m service keys create --organization orga_1"
    process = subprocess.run(
        ["sh", "-c", f"exec {create} >&-"],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert (process.returncode, process.stderr) == (
        1,
        "Error: there is no standard output to print the key to\n",
    )


@pytest.mark.parametrize("argument", ["key_0", "\udcff"])
def test_key_that_is_none_cannot_be_revoked(environment: Environment, argument: str) -> None:
    complaint = complaint_of("service", "keys", "revoke", argument, environment=environment)

    assert complaint.startswith("Error: there is no key ")


def test_unreachable_kafka_is_named(environment: Environment, closed_port: str) -> None:
    environment["ACTIVITY_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{closed_port}"

    complaint = complaint_of(*RUN, environment=environment)

    assert "Kafka" in complaint
    assert closed_port in complaint


@pytest.mark.parametrize("variable", ["ACTIVITY_KAFKA_TOPICS", "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC"])
def test_missing_topic_is_named(environment: Environment, variable: str) -> None:
    environment[variable] = "nobody.made.this"

    assert "nobody.made.this" in complaint_of(*RUN, environment=environment)


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (SERVE, "ACTIVITY_HTTP_PORT"),
        (SERVE, "ACTIVITY_OPERATIONS_PORT"),
        (RUN, "ACTIVITY_OPERATIONS_PORT"),
    ],
)
def test_taken_port_is_named(
    environment: Environment, command: tuple[str, ...], variable: str, taken_port: str
) -> None:
    environment[variable] = taken_port

    complaint = complaint_of(*command, environment=environment)

    assert variable in complaint
    assert taken_port in complaint
