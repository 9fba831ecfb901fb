"""What happens when Kafka takes a right away, or does not let a process in any more."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from pydantic import SecretStr

from consumers import process, quarantine
from consumers.connections import FORGET_SECONDS, Connection, Logins, recognize_lost_connections
from deploy.local.folders import run_folder
from deploy.local.kafka import KafkaServer, administration
from deploy.local.stack import running
from service.errors import Halted
from tests.conftest import new_topics
from tests.factories import activity, event, record
from tests.ingest.group import Group, until

_TOPIC, _LITERAL, _READ, _DENY = 2, 3, 3, 2


@pytest.fixture(scope="module")
async def guarded_server() -> AsyncIterator[KafkaServer]:
    """A door with a user and a password; what is not forbidden is allowed."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    with run_folder() as folder:
        server = KafkaServer(
            Path(folder) / "kafka",
            listeners=["SASL_PLAINTEXT"],
            scram_users={"consumer": "correct"},
            properties={
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": module,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "allow.everyone.if.no.acl.found": "true",
            },
        )
        async with running(server):
            yield server


@pytest.fixture
async def guarded(group: Group, guarded_server: KafkaServer) -> Group:
    group.topics = await new_topics(guarded_server.bootstrap_servers)
    return group


def login(server: KafkaServer, password: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": server.addresses["SASL_PLAINTEXT"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_username": "consumer",
        "sasl_password": SecretStr(password),
    }


async def forbid_reading(group: Group, topic: str, *, forbid: bool) -> None:
    user = "User:consumer"
    if forbid:
        request: Any = CreateAclsRequest(_TOPIC, topic, _LITERAL, user, "*", _READ, _DENY)
    else:
        request = DeleteAclsRequest(_TOPIC, topic, _LITERAL, user, "*", _READ, _DENY)
    async with administration(group.topics.bootstrap_servers) as admin:
        response = await admin._send_request(request)
    answers = response.creation_responses if forbid else response.filter_responses
    assert [for_code(answer[0]).errno for answer in answers] == [0]


def notes(first: int, count: int) -> list[bytes]:
    numbers = range(first, first + count)
    return [record(event(activity("Note", id=f"acti_{number}"))) for number in numbers]


@pytest.mark.parametrize("when", ["while it reads", "before it starts"])
async def test_a_right_lost_on_one_topic_stops_that_topic_alone(
    guarded: Group, guarded_server: KafkaServer, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "MAX_PAUSE_SECONDS", 1.0)
    group, lost = guarded, guarded.topics.names[0]
    kafka = group.kafka(**login(guarded_server, "correct"), metadata_max_age_seconds=1.0)
    if when == "before it starts":
        await forbid_reading(group, lost, forbid=True)

    async with group.member(kafka) as member:
        if when == "while it reads":
            await group.publish(notes(0, 20))
            await group.until_worked_off()
            await forbid_reading(group, lost, forbid=True)
        await group.publish(notes(20, 40))

        async def others_are_worked_off() -> bool:
            lag = await group.lag()
            of_lost = sum(count for (topic, _), count in lag.items() if topic == lost)
            return of_lost == 20 and sum(lag.values()) == 20

        await until(others_are_worked_off)

        async def is_told() -> bool:
            return lost in (member.health.note() or "")

        await until(is_told)
        assert await member.health.is_ready() is None
        await forbid_reading(group, lost, forbid=False)
        await group.until_worked_off()

    await group.check()


async def test_a_refused_login_that_lasts_ends_the_process(
    guarded: Group, guarded_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognize_lost_connections()
    monkeypatch.setattr(Connection, "logins", Logins())
    monkeypatch.setattr(process, "REFUSED_LOGIN_SECONDS", 2.0)
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.1)

    with pytest.raises(Halted, match="ACTIVITY_KAFKA_SASL_PASSWORD: Kafka has refused them"):
        async with guarded.member(guarded.kafka(**login(guarded_server, "changed"))) as member:
            await asyncio.wait({member.task}, timeout=30)


def test_refusals_are_one_as_long_as_nobody_is_let_in() -> None:
    now = 0.0
    logins = Logins(clock=lambda: now)

    def refuse_at(time: float) -> float:
        nonlocal now
        now = time
        logins.refuse()
        return logins.refused_seconds

    assert [refuse_at(time) for time in (0, 10, 20)] == [0, 10, 20]
    assert refuse_at(20 + FORGET_SECONDS + 1) == 0
    assert refuse_at(40) == 4
    logins.accept()
    assert logins.refused_seconds == 0
