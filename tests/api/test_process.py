"""`activity-service` as a real process: its start, its end, its commands (contract 4)."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from deploy.local.mongodb import MongoServer
from deploy.local.stack import Mongo as MongoChoice
from service.__main__ import main
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.keys import create_key
from service.store.mongo import Mongo, connect
from tests.factories import activity, event, record
from tests.store.listing import apply

DEADLINE_SECONDS = 20.0
SECRET = "not to be seen in any log"


def environment(mongo_url: str, database: str, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACTIVITY_")}
    return {
        **clean,
        "ACTIVITY_MONGO_URL": mongo_url,
        "ACTIVITY_MONGO_DATABASE": database,
        "ACTIVITY_CURSOR_SECRET": SECRET,
        "ACTIVITY_HTTP_HOST": "127.0.0.1",
        "ACTIVITY_HTTP_PORT": "0",
        "ACTIVITY_OPERATIONS_PORT": "0",
        **more,
    }


@dataclass
class Service:
    """A running `serve`: its process, and what it said when it started."""

    process: asyncio.subprocess.Process
    started: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.started['http_port']}/api/v1"

    @property
    def operations_url(self) -> str:
        return f"http://127.0.0.1:{self.started['operations_port']}"

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait for its end: exit status and the rest of its log."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert self.process.stderr is not None
            log = (await self.process.stderr.read()).splitlines()
            return await self.process.wait(), [json.loads(line) for line in log]


@asynccontextmanager
async def serving(variables: Mapping[str, str]) -> AsyncIterator[Service]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve"), env=variables, stderr=subprocess.PIPE
    )
    try:
        yield Service(process, await read_start(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_start(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in process.stderr:
            said: dict[str, Any] = json.loads(line)
            if said["message"] == "started":
                return said
    raise AssertionError("the service ended before it started")


async def run(*arguments: str, variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", *arguments),
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def invoke(*arguments: str, variables: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and output of one command, run inside this process: it starts faster."""
    result = await asyncio.to_thread(CliRunner(env=variables).invoke, main, arguments)
    return result.exit_code, result.output


async def get(url: str, key: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def wait_for_status(url: str, status: int, key: str = "", text: str = "") -> None:
    """Until it answers so, with `text` somewhere in it."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found, body = await get(url, key)
            if found == status and text in body:
                return
            await asyncio.sleep(0.05)


async def wait_until_refused(url: str) -> None:
    """Until no new connection is taken."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        with suppress(aiohttp.ClientConnectionError):
            while True:
                await get(url)


@pytest.fixture
def variables(mongo_server: MongoChoice, database_name: str) -> dict[str, str]:
    return environment(mongo_server.url, database_name)


@pytest.fixture
async def empty_database(mongo_settings: MongoSettings) -> AsyncIterator[Mongo]:
    """A database of the test's own without any index; dropped afterwards."""
    async with connect(mongo_settings) as mongo:
        yield mongo
        await mongo.client.drop_database(mongo_settings.database)


@pytest.mark.usefixtures("mongo")
async def test_serving_from_start_to_sigterm(variables: dict[str, str]) -> None:
    status, output, errors = await run(
        "keys", "create", "--organization", "orga_1", variables=variables
    )
    key = output.removesuffix("\n")
    assert (status, errors) == (0, "")
    assert "\n" not in key

    async with serving(variables) as service:
        assert service.started["mongo"] == variables["ACTIVITY_MONGO_URL"][10:].partition("/")[0]
        assert service.started["limits"]["queue_max_seconds"] == 1.0
        assert service.started["versions"]["activity-service"]
        assert await get(f"{service.operations_url}/healthz") == (200, "ok")
        assert await get(f"{service.operations_url}/readyz") == (200, "ok")
        assert (await get(f"{service.url}/me/", key))[0] == 200
        assert (await get(f"{service.url}/activity/", key))[0] == 200
        assert (await get(f"{service.url}/activity/"))[0] == 401
        _, metrics = await get(f"{service.operations_url}/metrics")
        assert (
            'activity_http_requests_total{method="GET",route="/api/v1/me/",status="200"} 1.0'
            in metrics
        )

        service.process.send_signal(signal.SIGTERM)
        status, log = await service.end()

    assert status == 0
    assert log[-1]["message"] == "stopped"
    assert log[-1]["requests"] == {"200": 2, "401": 1}
    assert SECRET not in json.dumps([service.started, *log])


@pytest.mark.usefixtures("empty_database")
async def test_without_indexes_it_waits_unready(variables: dict[str, str]) -> None:
    _, key = await invoke("keys", "create", "--organization", "orga_1", variables=variables)
    async with serving(variables) as service:
        missing = "index lead_activity_at is missing"
        await wait_for_status(f"{service.operations_url}/readyz", 503, text=missing)
        await wait_for_metric(service, "activity_ready 0.0")
        status, text = await get(f"{service.url}/activity/", key.strip())
        assert status == 503
        assert json.loads(text)["error"]["rate_reset"] >= 1

        made = await invoke("indexes", variables=variables)
        assert made == (0, "The indexes are in place.\n")

        await wait_for_status(f"{service.url}/activity/", 200, key.strip())
        await wait_for_status(f"{service.operations_url}/readyz", 200)
        await wait_for_metric(service, "activity_ready 1.0")


async def test_indexes_may_take_longer_than_any_other_answer(
    breakable_mongo_server: MongoServer, database_name: str
) -> None:
    variables = environment(breakable_mongo_server.url, database_name)
    variables["ACTIVITY_MONGO_SOCKET_TIMEOUT_SECONDS"] = "1"
    async with connect(MongoSettings(url=SecretStr(breakable_mongo_server.url))) as mongo:
        await mongo.client.admin.command("fsync", lock=True)  # nothing is written meanwhile
        try:
            made = asyncio.create_task(invoke("indexes", variables=variables))
            done, _ = await asyncio.wait([made], timeout=2)
        finally:
            await mongo.client.admin.command("fsyncUnlock")

        assert not done
        assert await made == (0, "The indexes are in place.\n")
        await mongo.client.drop_database(database_name)


@pytest.mark.usefixtures("mongo")
async def test_keys_are_made_listed_and_revoked(variables: dict[str, str]) -> None:
    create = ("keys", "create", "--organization", "orga_1", "--name", "monthly report")
    _, key = await invoke(*create, variables=variables)
    key_id, _, secret = key.strip().partition(".")

    _, listed = await invoke("keys", "list", variables=variables)
    assert listed.startswith(f"{key_id}  orga_1  ")
    assert listed.endswith("  in force  never used  -  monthly report\n")
    assert secret not in listed

    _, another = await invoke("keys", "rotate", key_id, "--grace", "2h", variables=variables)
    _, listed = await invoke("keys", "list", variables=variables)
    first, second = listed.splitlines()
    assert "  expires " in first
    assert second.startswith(another.partition(".")[0])

    assert await invoke("keys", "revoke", key_id, variables=variables) == (0, "")
    _, listed = await invoke("keys", "list", variables=variables)
    assert "  revoked " in listed

    revoked = await invoke("keys", "revoke", "key_none", variables=variables)
    assert revoked == (1, "Error: there is no key key_none\n")


async def test_an_organization_must_be_an_id(variables: dict[str, str]) -> None:
    create = ("keys", "create", "--organization", "a b")

    status, output = await invoke(*create, variables=variables)

    assert status == 2
    assert "an id is 1 to 128 of" in output


async def test_the_document_is_printed_without_any_server() -> None:
    status, output = await invoke("openapi", variables={})

    assert status == 0
    assert json.loads(output)["openapi"].startswith("3.1")


@pytest.fixture
async def draining(
    breakable_mongo_server: MongoServer, database_name: str
) -> AsyncIterator[tuple[dict[str, str], str]]:
    """The variables of a service whose MongoDB can be paused, and a key of it."""
    url = breakable_mongo_server.url
    async with connect(MongoSettings(url=SecretStr(url), database=database_name)) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        key = await create_key(mongo, "orga_1", "")
        yield environment(url, database_name), key
        breakable_mongo_server.resume()
        await mongo.client.drop_database(database_name)


async def test_sigterm_lets_a_request_finish(
    breakable_mongo_server: MongoServer, draining: tuple[dict[str, str], str]
) -> None:
    variables, key = draining
    async with serving(variables) as service:
        await get(f"{service.url}/me/", key)
        breakable_mongo_server.pause()
        asked = asyncio.create_task(get(f"{service.url}/activity/", key))
        await wait_for_metric(service, "activity_http_requests_in_flight 1.0")

        service.process.send_signal(signal.SIGTERM)

        await wait_for_status(f"{service.operations_url}/readyz", 503, text="shutting down")
        await wait_until_refused(service.url)
        assert not asked.done()
        breakable_mongo_server.resume()
        assert (await asked)[0] == 200
        status, log = await service.end()
    assert status == 0
    assert log[-1]["message"] == "stopped"


async def test_a_second_signal_ends_it_at_once(
    breakable_mongo_server: MongoServer, draining: tuple[dict[str, str], str]
) -> None:
    variables, key = draining
    async with serving(variables) as service:
        await get(f"{service.url}/me/", key)
        breakable_mongo_server.pause()
        asked = asyncio.create_task(get(f"{service.url}/activity/", key))
        await wait_for_metric(service, "activity_http_requests_in_flight 1.0")
        service.process.send_signal(signal.SIGTERM)
        await wait_for_status(f"{service.operations_url}/readyz", 503, text="shutting down")

        service.process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(service.process.wait(), DEADLINE_SECONDS) == -signal.SIGTERM
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked


async def test_what_does_not_finish_in_time_is_cancelled(
    breakable_mongo_server: MongoServer, draining: tuple[dict[str, str], str]
) -> None:
    variables, key = draining
    variables |= {"ACTIVITY_SHUTDOWN_SECONDS": "0.2", "ACTIVITY_MONGO_TIMEOUT_SECONDS": "1"}
    async with serving(variables) as service:
        # Idle connections, too, say goodbye to a server that does not answer.
        await asyncio.gather(*(get(f"{service.url}/activity/", key) for _ in range(8)))
        breakable_mongo_server.pause()
        asked = asyncio.create_task(get(f"{service.url}/activity/", key))
        await wait_for_metric(service, "activity_http_requests_in_flight 1.0")

        service.process.send_signal(signal.SIGTERM)

        assert (await service.end())[0] == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked


async def test_a_client_that_takes_nothing_does_not_delay_the_end(
    mongo: Mongo, variables: dict[str, str]
) -> None:
    notes = [activity("Note", id=f"acti_{number}", note="n" * 200_000) for number in range(100)]
    await apply(mongo, (record(event(note)) for note in notes))
    key = await create_key(mongo, "orga_1", "")
    async with serving(variables | {"ACTIVITY_SHUTDOWN_SECONDS": "4"}) as service:
        port = service.started["http_port"]
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        head = f"GET /api/v1/activity/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        writer.write(head.encode())
        await wait_for_metric(service, "activity_http_bytes_unsent 2.")

        service.process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(7):  # twice the four would be eight
            assert (await service.end())[0] == 0
        writer.transport.abort()


async def wait_for_metric(service: Service, line: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if line in (await get(f"{service.operations_url}/metrics"))[1]:
                return
            await asyncio.sleep(0.02)
