"""`activity-consumers run` as a real process: its start, its probes, its end (contract 4)."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.kafka import KafkaServer, create_topics
from deploy.local.mongodb import MongoServer
from deploy.local.stack import running
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import connect
from tests.conftest import Topics, new_topics
from tests.factories import activity, event, record
from tests.ingest.group import Group, environment, spawn, until


@pytest.fixture
def settings(group: Group, mongo_settings: MongoSettings) -> dict[str, str]:
    return environment(group, mongo_settings.url.get_secret_value(), mongo_settings.database)


@dataclass
class Consumer:
    process: asyncio.subprocess.Process
    started: dict[str, Any]

    async def probe(self, name: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.started['operations_port']}/{name}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()

    async def is_ready(self) -> bool:
        return (await self.probe("readyz"))[0] == 200

    async def metrics(self) -> dict[str, float]:
        """By name and labels as they are exposed."""
        lines = [line for line in (await self.probe("metrics"))[1].splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait for its end; exit status and the rest of its log."""
        _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, [json.loads(line) for line in errors.splitlines()]


@asynccontextmanager
async def started(settings: dict[str, str]) -> AsyncIterator[Consumer]:
    process = await spawn(settings, "run")
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stderr.readline(), 30)
        yield Consumer(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def complaint_of(settings: dict[str, str]) -> str:
    """What a process that cannot start says: one line, exit status 1."""
    process = await spawn(settings, "run")
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    return line


def notes(count: int) -> list[bytes | None]:
    return [
        record(event(activity("Note", id=f"acti_{number}"), id=f"ev_{number}"))
        for number in range(count)
    ]


async def test_sigterm_writes_and_commits_what_was_taken(
    group: Group, settings: dict[str, str]
) -> None:
    slow_commits = settings | {"ACTIVITY_COMMIT_INTERVAL_SECONDS": "60"}
    async with started(slow_commits) as consumer:
        await group.publish(notes(50))

        async def are_stored() -> bool:
            return bool(await group.mongo.activities.count_documents({}) == 50)

        await until(are_stored)
        consumer.process.send_signal(signal.SIGTERM)
        status, log = await consumer.end()

    assert status == 0
    assert log[-1]["message"] == "stopped"
    assert log[-1]["records"] == {"applied": 50}
    assert not any((await group.lag()).values())


async def test_without_indexes_nothing_is_consumed(group: Group, settings: dict[str, str]) -> None:
    await group.mongo.activities.drop()
    await group.publish(notes(3))

    async with started(settings) as consumer:

        async def are_missed() -> bool:
            status, reason = await consumer.probe("readyz")
            return status == 503 and "is missing" in reason

        await until(are_missed)
        alive = await consumer.probe("healthz")
        before = await group.mongo.activities.count_documents({})
        await ensure_indexes(group.mongo, RetentionSettings())
        await until(consumer.is_ready)
        await group.until_worked_off()

    assert alive[0] == 200
    assert before == 0
    await group.check()


async def test_outage_shows_in_readiness_and_not_in_health(
    topics: Topics, breakable_mongo_server: MongoServer, database_name: str
) -> None:
    server = breakable_mongo_server
    mongo_settings = MongoSettings(url=server.url, database=database_name)
    async with connect(mongo_settings) as mongo:
        group = Group(topics, mongo)
        await ensure_indexes(mongo, RetentionSettings())
        impatient = {"ACTIVITY_MONGO_TIMEOUT_SECONDS": "0.5", "ACTIVITY_SHUTDOWN_SECONDS": "3"}
        async with started(environment(group, server.url, database_name, **impatient)) as consumer:
            await until(consumer.is_ready)
            server.kill()
            await group.publish(notes(3))

            async def is_unready() -> bool:
                status, reason = await consumer.probe("readyz")
                return status == 503 and "mongodb" in reason

            await until(is_unready)
            assert await consumer.probe("healthz") == (200, "ok")

            async def shows_its_lag() -> bool:
                metrics = await consumer.metrics()
                lag = sum(
                    metrics[name] for name in metrics if name.startswith("activity_lag_records")
                )
                return lag == 3 and metrics["activity_oldest_record_seconds"] > 0

            await until(shows_its_lag)
            assert (await consumer.metrics())['activity_retries_total{cause="mongodb"}'] > 0
            await server.start()
            await until(consumer.is_ready)
            await group.until_worked_off()
            await group.check()
            server.kill()
            await group.publish(notes(5)[3:])
            consumer.process.send_signal(signal.SIGTERM)
            status, _ = await asyncio.wait_for(consumer.end(), 15)

        assert status == 0
        await server.start()
        assert sum((await group.lag()).values()) == 2
        await mongo.client.drop_database(database_name)


async def test_second_signal_ends_at_once(
    topics: Topics, breakable_mongo_server: MongoServer, database_name: str
) -> None:
    server = breakable_mongo_server
    async with connect(MongoSettings(url=server.url, database=database_name)) as mongo:
        await ensure_indexes(mongo, RetentionSettings())
        group = Group(topics, mongo)
        patient = {"ACTIVITY_SHUTDOWN_SECONDS": "600"}
        async with started(environment(group, server.url, database_name, **patient)) as consumer:
            await until(consumer.is_ready)
            server.pause()
            await group.publish(notes(1))

            async def is_being_written() -> bool:
                return (await consumer.metrics())["activity_bytes_in_flight"] > 0

            await until(is_being_written)
            consumer.process.send_signal(signal.SIGTERM)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(consumer.process.wait()), 1)
            consumer.process.send_signal(signal.SIGTERM)

            assert await asyncio.wait_for(consumer.process.wait(), 5) == -signal.SIGTERM
        server.resume()
        await mongo.client.drop_database(database_name)


@pytest.mark.parametrize("compression", ["", "zstd"])
async def test_a_header_name_that_is_no_utf_8_stops_nobody(
    group: Group, settings: dict[str, str], compression: str
) -> None:
    first, second, third, last = notes(4)
    odd = [second or b"", b"{", third or b""]
    await group.publish([first])
    publisher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.ingest.latin_headers"),
        *(group.topics.bootstrap_servers, group.topics.names[0], compression),
        stdin=asyncio.subprocess.PIPE,
    )
    await publisher.communicate(b"\n".join(odd))
    for value in odd:
        group.model.apply(value)
    await group.publish([last])

    async with started(settings | {"ACTIVITY_DEAD_LETTER_MAX_RATIO": "1"}) as consumer:
        await group.until_worked_off()
        consumer.process.send_signal(signal.SIGTERM)
        assert (await consumer.end())[0] == 0

    assert publisher.returncode == 0
    await group.check()
    (letter,) = await group.dead_letters()
    assert letter.headers[:3] == (("trace", b"1"), ("caf\\xe9", b"2"), ("empty", None))


async def test_blown_fuse_ends_the_process_with_one_clear_line(
    group: Group, settings: dict[str, str]
) -> None:
    await group.publish([b"{"] * 400, linger_ms=5)

    process = await spawn(settings, "run")
    _, errors = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    *log, last = errors.decode().splitlines()
    assert last.startswith("Error: ")
    assert "ACTIVITY_DEAD_LETTER_MAX_RATIO=0.5" in last
    assert all(json.loads(line)["level"] != "ERROR" for line in log)


async def test_dead_letter_topic_without_room_is_named_with_its_remedy(
    group: Group, settings: dict[str, str]
) -> None:
    narrow = f"{group.topics.dead_letter}.narrow"
    await create_topics(group.topics.bootstrap_servers, [narrow], max_message_bytes=1000)

    line = await complaint_of(settings | {"ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": narrow})

    assert f"--entity-name {narrow} --add-config max.message.bytes=" in line


def write_chain(certificate: trustme.LeafCert, path: Path) -> None:
    """Java reads private keys in the form of PKCS 8 only."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    as_pkcs_8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(as_pkcs_8 + b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


async def test_kafka_over_tls_with_passwords(
    tmp_path: Path, group: Group, settings: dict[str, str]
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    chain = tmp_path / "server.pem"
    write_chain(authority.issue_cert("127.0.0.1"), chain)
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    server = KafkaServer(
        tmp_path / "kafka",
        listeners=["SASL_SSL"],
        scram_users={"consumer": "correct"},
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(chain),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": jaas,
        },
    )
    async with running(server):
        group.topics = await new_topics(server.bootstrap_servers)
        secured = {
            **settings,
            **group.topics.environment(),
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": server.addresses["SASL_SSL"],
            "ACTIVITY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ACTIVITY_KAFKA_SASL_USERNAME": "consumer",
            "ACTIVITY_KAFKA_SASL_PASSWORD": "correct",
            "ACTIVITY_KAFKA_SSL_CA_PATH": str(tmp_path / "ca.pem"),
        }
        wrong, untrusted, no_file = await asyncio.gather(
            complaint_of(secured | {"ACTIVITY_KAFKA_SASL_PASSWORD": "not-the-one"}),
            complaint_of(secured | {"ACTIVITY_KAFKA_SSL_CA_PATH": ""}),
            complaint_of(secured | {"ACTIVITY_KAFKA_SSL_CA_PATH": "/nowhere"}),
        )
        async with started(secured) as consumer:
            await group.publish([*notes(3), b"{"])
            await group.until_worked_off()
            said = json.dumps(consumer.started)

    assert "ACTIVITY_KAFKA_SASL_PASSWORD" in wrong
    assert "certificate verify failed" in untrusted
    assert "ACTIVITY_KAFKA_SSL_CA_PATH" in no_file
    assert "correct" not in said
    assert not {"correct", "not-the-one"} & {*wrong.split(), *untrusted.split()}
    assert await group.stored() == group.expected()


async def test_client_whose_broker_hangs_up_goes_on_learning_of_partitions(
    group: Group, settings: dict[str, str]
) -> None:
    """What dies inside the client dies silently: without metadata it finds no coordinator again,
    and no partition that was added."""
    settings |= {"ACTIVITY_KAFKA_METADATA_MAX_AGE_SECONDS": "0.2"}
    process = await spawn(settings, module="tests.ingest.hanging_up")
    try:
        await group.publish([record(event(activity("Note", id=f"acti_{n}"))) for n in range(5)])
        await group.until_worked_off()
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 30)
        await group.add_partitions(4)
        later = [record(event(activity("Note", id=f"acti_{n}"))) for n in range(5, 45)]
        await group.publish(later, key=lambda _: None)
        await group.until_worked_off()
    finally:
        process.terminate()
        await process.communicate()

    await group.check()
