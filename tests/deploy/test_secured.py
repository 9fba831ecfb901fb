"""TLS and passwords in front of both servers, as the production overlay sets them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from deploy.local.commands import ApiProcess, ConsumerProcess, run_command
from tests import factories
from tests.deploy import manifests
from tests.deploy.secured import TOPICS, Secured, secured_servers

DEADLINE_SECONDS = 20.0
WRONG = "a wrong password"


@pytest.fixture(scope="module", name="secured")
async def _secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    async with secured_servers(tmp_path_factory.mktemp("secured") / "servers") as secured:
        yield secured


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that the environment names are not the ones of these tests."""
    for name in [name for name in os.environ if name.startswith("ACTIVITY_")]:
        monkeypatch.delenv(name)


async def _wait_for(url: str, key: str) -> int:
    """The status of an answer that is no 404, as soon as there is one."""
    headers = {"Authorization": f"Bearer {key}"}
    async with asyncio.timeout(DEADLINE_SECONDS), aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(url) as answer:
                if answer.status != 404:
                    return answer.status
            await asyncio.sleep(0.05)


def test_production_is_set_up_like_these_servers(secured: Secured) -> None:
    (workload, *_) = manifests.of_kind("production", "StatefulSet")
    production = manifests.settings("production", workload)

    assert set(secured.environment()) <= set(production)


async def test_events_and_requests_pass_through_both_doors(
    secured: Secured, tmp_path: Path
) -> None:
    environment = secured.environment()
    consumer = ConsumerProcess(tmp_path / "consumer", environment)
    api = ApiProcess(tmp_path / "api", environment)
    try:
        await run_command("service", "indexes", environment=environment)
        key = await run_command(
            "service", "keys", "create", "--organization", "orga_1", environment=environment
        )
        await asyncio.gather(consumer.start(), api.start())
        async with secured.producer() as producer:
            event = factories.event(factories.activity(id="acti_1"))
            await producer.send_and_wait(TOPICS[0], factories.record(event))
        status = await _wait_for(f"{api.url}/activity/acti_1/", key)
        exposed = [
            Path(f"/proc/{process.pid}/{what}").read_text()
            for process in (consumer, api)
            for what in ("cmdline", "environ")
        ]
        statuses = [await consumer.stop(), await api.stop()]
    finally:
        consumer.kill()
        api.kill()

    assert status == 200
    assert statuses == [0, 0]
    exposed += [process.log_path.read_text() for process in (consumer, api)]
    for text in exposed:
        assert text
        assert not any(secret in text for secret in (*secured.secrets, key))


MONGO_REFUSES = "Error: MongoDB refuses the user or password of ACTIVITY_MONGO_URL"
KAFKA_REFUSES = "Error: ACTIVITY_KAFKA_SASL_USERNAME, ACTIVITY_KAFKA_SASL_PASSWORD: Kafka at"
KAFKA_IS_UNKNOWN = "Error: ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: cannot work with Kafka at"


@pytest.mark.parametrize(
    ("command", "variable", "line"),
    [
        ("service serve", "ACTIVITY_MONGO_URL_FILE", MONGO_REFUSES),
        ("consumers run", "ACTIVITY_MONGO_URL_FILE", MONGO_REFUSES),
        ("consumers run", "ACTIVITY_KAFKA_SASL_PASSWORD_FILE", KAFKA_REFUSES),
        ("consumers run", "ACTIVITY_KAFKA_SSL_CA_PATH", KAFKA_IS_UNKNOWN),
    ],
)
async def test_who_is_not_let_in_says_so_in_one_line(
    secured: Secured, command: str, variable: str, line: str
) -> None:
    wrong = {
        "ACTIVITY_MONGO_URL_FILE": secured.file("wrong-mongo-url", secured.mongo_url(WRONG)),
        "ACTIVITY_KAFKA_SASL_PASSWORD_FILE": secured.file("wrong-password", WRONG),
        "ACTIVITY_KAFKA_SSL_CA_PATH": "",
    }
    environment = secured.environment() | {
        variable: wrong[variable],
        "ACTIVITY_HTTP_PORT": "0",
        "ACTIVITY_OPERATIONS_PORT": "0",
    }

    status, output = await _run(command, environment)

    assert len(output.splitlines()) == 1, output
    said = output.strip()
    assert status == 1
    assert said.startswith(line)
    assert not any(secret in said for secret in (WRONG, *secured.secrets))


async def _run(command: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit status and all that was said on either stream."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command.split()),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
