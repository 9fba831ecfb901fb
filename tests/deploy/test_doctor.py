"""The doctor names every planted fault with the line that mends it, and no fault where there is none."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.cluster import quiet_client
from consumers.diagnosis import examine_kafka
from service.diagnosis import Clock, Finding, examine_variables, wrong_setting
from service.errors import StartError
from service.settings import KafkaSettings, MongoSettings, RetentionSettings, read_section
from service.store.diagnosis import CONSUMER_RIGHTS, SERVICE_RIGHTS, examine_mongo
from tests.deploy.clinic import Clinic, clinic
from tests.deploy.planted import FAULTS, Fault, other_authority

DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module", name="healthy")
async def _healthy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clinic]:
    async with clinic(tmp_path_factory.mktemp("clinic")) as healthy:
        yield healthy


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ACTIVITY_")]:
        monkeypatch.delenv(name)


async def examine(clock: Clock) -> list[Finding]:
    retention = read_section(RetentionSettings)
    kafka, mongo = read_section(KafkaSettings), read_section(MongoSettings)
    with quiet_client():
        return [
            *await examine_mongo(
                mongo, {**CONSUMER_RIGHTS, **SERVICE_RIGHTS}, retention, clock=clock
            ),
            *await examine_kafka(kafka, retention, clock=clock),
        ]


async def failures(clock: Clock) -> list[Finding]:
    """What a doctor of all that both commands look at finds wrong; they themselves are tried below."""
    try:
        found = [*examine_variables(), *await examine(clock)]
    except StartError as error:
        found = [wrong_setting(error)]
    return [finding for finding in found if finding.outcome == "failed"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.name))
async def test_the_doctor_names_what_is_wrong_and_what_mends_it(
    fault: Fault,
    healthy: Clinic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(hours=fault.hours)

    async with fault.plant(healthy, tmp_path) as changes:
        for name, value in {**healthy.environment(), **changes}.items():
            monkeypatch.setenv(name, value)
        # A lost right or a changed topic is known to every broker only a moment later.
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (wrong := await failures(clock)):  # noqa: ASYNC110 a server's own affair
                await asyncio.sleep(0.1)

    assert [finding.check for finding in wrong] == [fault.check]
    assert fault.mend in wrong[0].mend
    assert wrong[0].text
    assert not any(secret in str(wrong[0]) for secret in healthy.secured.secrets)


@pytest.mark.parametrize("module", ["service", "consumers"])
async def test_the_commands_are_silent_about_healthy_servers(module: str, healthy: Clinic) -> None:
    status, output = await run(module, healthy.environment())

    assert status == 0, output
    found = json.loads(output)
    assert {finding["outcome"] for finding in found} <= {"ok", "unknown"}
    assert {finding["check"] for finding in found} >= {"MongoDB TLS", "MongoDB rights", "settings"}
    assert not any(secret in output for secret in healthy.secured.secrets)


@pytest.mark.parametrize("module", ["service", "consumers"])
async def test_the_commands_fail_with_what_they_find(module: str, healthy: Clinic) -> None:
    stranger = {"ACTIVITY_MONGO_TLS_CA_PATH": other_authority(healthy)}

    status, output = await run(module, healthy.environment() | stranger)

    assert status == 1
    (failure,) = (found for found in json.loads(output) if found["outcome"] == "failed")
    assert "ACTIVITY_MONGO_TLS_CA_PATH" in failure["mend"]


async def run(module: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "doctor", "--json"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
