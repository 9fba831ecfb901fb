"""Faults planted on healthy servers: each an environment to look with, and who must say what.

A plant is a context: while it is open the fault is there. It yields what differs in the environment,
or None where the servers differ instead.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from deploy.local.kafka import delete_topics
from deploy.local.mongodb import MongoServer
from deploy.local.stack import running
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import connect
from tests.deploy import clinic
from tests.deploy.clinic import DEAD_LETTER_TOPIC, TOPICS, Clinic
from tests.deploy.secured import DATABASE

Environment = Mapping[str, str]
Plant = Callable[[Clinic, Path], AbstractAsyncContextManager[Environment]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`check` must fail, and `mend` be in the line that mends it; `hours` the clock is ahead."""

    name: str
    check: str
    mend: str
    plant: Plant
    hours: float = 0


FAULTS: list[Fault] = []


def planted(
    check: str, mend: str, hours: float = 0
) -> Callable[[Callable[[Clinic, Path], AsyncIterator[Environment]]], Plant]:
    def add(plant: Callable[[Clinic, Path], AsyncIterator[Environment]]) -> Plant:
        context = asynccontextmanager(plant)
        FAULTS.append(Fault(plant.__name__, check, mend, context, hours))
        return context

    return add


# --- MongoDB --------------------------------------------------------------------------------------


@planted("MongoDB", "correct USER and PASSWORD")
async def mongo_password_is_wrong(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    url = healthy.secured.mongo_url("a wrong password")
    yield {"ACTIVITY_MONGO_URL_FILE": healthy.secured.file("wrong-url", url)}


@planted("MongoDB TLS", "correct host and port")
async def mongo_does_not_answer(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_MONGO_URL_FILE": healthy.secured.file("nowhere", "mongodb://127.0.0.1:1/")}


@planted("MongoDB TLS", "ACTIVITY_MONGO_TLS_CA_PATH must be the authority")
async def mongo_is_signed_by_another(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_MONGO_TLS_CA_PATH": other_authority(healthy)}


@planted("MongoDB TLS", "name the server as its certificate does")
async def mongo_has_another_name(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    url = f"mongodb://localhost:{healthy.secured.mongo.port}/"
    yield {"ACTIVITY_MONGO_URL_FILE": healthy.secured.file("localhost", url)}


@planted("MongoDB TLS", "new certificate")
async def mongo_certificate_has_expired(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with _expired_server(healthy) as (address, authority):
        yield {
            "ACTIVITY_MONGO_URL_FILE": healthy.secured.file("expired", f"mongodb://{address}/"),
            "ACTIVITY_MONGO_TLS_CA_PATH": authority,
        }


@planted("MongoDB rights", 'grantRolesToUser("activity", [{role: "readWrite", db: "activity"}')
async def mongo_user_may_only_read(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.mongo_roles("read"):
        yield {}


@planted("MongoDB rights", 'role: "dbAdmin", db: "activity"')
async def mongo_user_may_not_change_indexes(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.mongo_roles("readWrite"):
        yield {}


@planted("MongoDB replica set", "rs.initiate()")
async def mongo_is_standalone(_: Clinic, folder: Path) -> AsyncIterator[Environment]:
    async with running(server := _Standalone(folder / "standalone")):
        yield await _plain_mongo(f"mongodb://127.0.0.1:{server.port}/")


@planted("MongoDB", "rs.initiate()")
async def mongo_has_no_such_replica_set(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    url = f"mongodb://127.0.0.1:{healthy.secured.mongo.port}/?replicaSet=other"
    yield {"ACTIVITY_MONGO_URL_FILE": healthy.secured.file("other-set", url)}


@planted("MongoDB oplog", "replSetResizeOplog")
async def mongo_oplog_is_short(__: Clinic, folder: Path) -> AsyncIterator[Environment]:
    async with running(server := _SmallOplog(folder / "oplog")):
        async with AsyncMongoClient[dict[str, Any]](server.url) as client:
            for _ in range(8):
                await client.other.filler.insert_one({"text": "x" * 1024 * 1024})
        yield await _plain_mongo(server.url)


@planted("MongoDB oplog", "minRetentionHours: 48")
async def mongo_oplog_is_shorter_than_the_feed(
    healthy: Clinic, folder: Path
) -> AsyncIterator[Environment]:
    async with mongo_oplog_is_short(healthy, folder) as environment:
        yield {**environment, "ACTIVITY_FEED_HOURS": "48"}


@planted("MongoDB indexes", "activity-service indexes")
async def mongo_lacks_the_index_of_the_feed(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.secured.administration() as client:
        await client[DATABASE].feed.drop_indexes()
        try:
            yield {}
        finally:
            await healthy.make_indexes()


@planted("MongoDB clock", "NTP", hours=2)
async def mongo_clock_is_two_hours_off(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {}


@planted("MongoDB indexes", "activity-service indexes")
async def mongo_lacks_an_index(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.secured.administration() as client:
        activities = client[DATABASE].activities
        await activities.drop_index("thread_members")
        try:
            yield {}
        finally:
            await healthy.make_indexes()


@planted("MongoDB indexes", "activity-service indexes")
async def mongo_expires_markers_at_another_time(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_TOMBSTONE_DAYS": "91"}


# --- Kafka ----------------------------------------------------------------------------------------


@planted("Kafka", "ACTIVITY_KAFKA_SASL_PASSWORD")
async def kafka_password_is_wrong(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    path = healthy.secured.file("wrong-password", "a wrong password")
    yield {"ACTIVITY_KAFKA_SASL_PASSWORD_FILE": path}


@planted("Kafka TLS", "correct host and port")
async def kafka_does_not_answer(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


@planted("Kafka", "ACTIVITY_KAFKA_SECURITY_PROTOCOL")
async def kafka_is_asked_without_tls(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}


@planted("Kafka TLS", "ACTIVITY_KAFKA_SSL_CA_PATH must be the authority")
async def kafka_is_signed_by_another(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_KAFKA_SSL_CA_PATH": other_authority(healthy)}


@planted("Kafka TLS", "name the server as its certificate does")
async def kafka_has_another_name(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    port = healthy.secured.kafka.addresses["SASL_SSL"].rpartition(":")[2]
    yield {"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": f"localhost:{port}"}


@planted("Kafka TLS", "new certificate")
async def kafka_certificate_has_expired(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with _expired_server(healthy) as (address, authority):
        yield {
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": address,
            "ACTIVITY_KAFKA_SSL_CA_PATH": authority,
        }


@planted("Kafka topics", "--create --topic activity.notes")
async def kafka_lacks_a_topic(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_KAFKA_TOPICS": f"{TOPICS[0]},activity.notes"}


@planted("Kafka copies", "kafka-reassign-partitions.sh")
async def kafka_has_one_copy(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    name = "activity.status_changes"
    await clinic.create(healthy, [name], clinic.CONFIGURATION, copies=1)
    yield {"ACTIVITY_KAFKA_TOPICS": f"{TOPICS[0]},{name}"}
    await delete_topics(healthy.bootstrap_servers, [name])


@planted("Kafka copies", "--add-config min.insync.replicas=1")
async def kafka_asks_for_more_copies_than_there_are(
    healthy: Clinic, _: Path
) -> AsyncIterator[Environment]:
    async with _configured(healthy, TOPICS[0], min_insync_replicas="3"):
        yield {}


@planted("Kafka room", "--add-config max.message.bytes=1114112")
async def kafka_dead_letters_have_no_room(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with _configured(healthy, DEAD_LETTER_TOPIC, max_message_bytes="1048576"):
        yield {}


@planted("Kafka retention", "raise ACTIVITY_TOMBSTONE_DAYS")
async def kafka_keeps_records_for_ever(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with _configured(healthy, TOPICS[1], retention_ms="-1"):
        yield {}


@planted("Kafka retention", "raise ACTIVITY_TOMBSTONE_DAYS")
async def kafka_keeps_dead_letters_longer_than_markers(
    healthy: Clinic, _: Path
) -> AsyncIterator[Environment]:
    async with _configured(healthy, DEAD_LETTER_TOPIC, retention_ms=str(91 * 86_400_000)):
        yield {}


@planted("Kafka retention", "cleanup.policy=delete")
async def kafka_compacts_a_topic(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with _configured(healthy, TOPICS[0], cleanup_policy="compact"):
        yield {}


@planted("Kafka lag", "raise retention.ms")
async def kafka_retention_is_nearly_passed(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    six_days_ago = datetime.now(UTC) - timedelta(days=6)
    async with _record(healthy, "activity.events", six_days_ago):
        yield {"ACTIVITY_KAFKA_TOPICS": f"{TOPICS[0]},activity.events"}


@planted("Kafka clock", "NTP")
async def kafka_has_a_record_of_the_future(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    in_an_hour = datetime.now(UTC) + timedelta(minutes=50)
    async with _record(healthy, "activity.events", in_an_hour):
        yield {"ACTIVITY_KAFKA_TOPICS": f"{TOPICS[0]},activity.events"}


@planted("Kafka rights", "--operation Read --topic activity.emails")
async def kafka_user_may_not_read(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.without("topic", "activity.emails", "Read"):
        yield {}


@planted("Kafka rights", "--operation Write --topic activity.dead_letters")
async def kafka_user_may_not_write_dead_letters(
    healthy: Clinic, _: Path
) -> AsyncIterator[Environment]:
    async with healthy.without("topic", DEAD_LETTER_TOPIC, "Write"):
        yield {}


@planted("Kafka rights", "--operation Read --group")
async def kafka_user_may_not_join(healthy: Clinic, _: Path) -> AsyncIterator[Environment]:
    async with healthy.without("group", "activity-", "Read"):
        yield {}


@planted("Kafka configuration", "--operation DescribeConfigs --topic activity.calls")
async def kafka_user_may_not_see_the_configuration(
    healthy: Clinic, _: Path
) -> AsyncIterator[Environment]:
    async with healthy.without("topic", TOPICS[0], "DescribeConfigs"):
        yield {}


# --- settings -------------------------------------------------------------------------------------


@planted("settings", "correct the variable")
async def a_setting_is_wrong(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_TOMBSTONE_DAYS": "ninety"}


@planted("settings", "remove it")
async def a_setting_is_misspelt(_: Clinic, __: Path) -> AsyncIterator[Environment]:
    yield {"ACTIVITY_KAFKA_TOPIC": "activity.calls"}


# --- hands ----------------------------------------------------------------------------------------


class _Standalone(MongoServer):
    async def _prepare(self) -> Sequence[str | Path]:
        words = [*await super()._prepare()]
        place = words.index("--replSet")
        return [*words[:place], *words[place + 4 :]]

    async def _is_ready(self) -> bool:
        url = f"mongodb://127.0.0.1:{self.port}/?serverSelectionTimeoutMS=500"
        async with AsyncMongoClient[dict[str, Any]](url) as client:
            await client.admin.command("ping")
        return True


class _SmallOplog(MongoServer):
    async def _prepare(self) -> Sequence[str | Path]:
        words = [*await super()._prepare()]
        words[words.index("--oplogSize") + 1] = "1"
        return words


async def _plain_mongo(url: str) -> Environment:
    async with connect(MongoSettings(url=SecretStr(url))) as mongo:
        await ensure_indexes(mongo, RetentionSettings(feed_hours=24))
    return {"ACTIVITY_MONGO_URL_FILE": "", "ACTIVITY_MONGO_URL": url} | {
        "ACTIVITY_MONGO_TLS_CA_PATH": ""
    }


def other_authority(healthy: Clinic) -> str:
    return healthy.secured.file("other.pem", trustme.CA().cert_pem.bytes().decode())


@asynccontextmanager
async def _expired_server(healthy: Clinic) -> AsyncIterator[tuple[str, str]]:
    """Something that speaks TLS with a certificate of yesterday: no server starts with one."""
    authority = trustme.CA()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        path = healthy.secured.file("expired.pem", authority.cert_pem.bytes().decode())
        yield f"127.0.0.1:{port}", path


@asynccontextmanager
async def _configured(healthy: Clinic, topic: str, **changes: str) -> AsyncIterator[None]:
    await healthy.configure(topic, **changes)
    try:
        yield
    finally:
        await healthy.configure(topic)


@asynccontextmanager
async def _record(healthy: Clinic, topic: str, written: datetime) -> AsyncIterator[None]:
    """A topic of its own with one record of that time."""
    await clinic.create(healthy, [topic], clinic.CONFIGURATION)
    async with healthy.secured.producer() as producer:
        milliseconds = int(written.timestamp() * 1000)
        await producer.send_and_wait(topic, b"{}", timestamp_ms=milliseconds)
    try:
        yield
    finally:
        await delete_topics(healthy.bootstrap_servers, [topic])
        deadline = time.monotonic() + 20
        while topic in await healthy.topics():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
