"""Servers as a careful operator runs them: TLS everywhere, a user and a password at the door."""

import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trustme
from aiokafka import AIOKafkaProducer
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pymongo import AsyncMongoClient

from deploy.local.kafka import KafkaServer, create_dead_letter_topic, create_topics
from deploy.local.mongodb import MongoServer
from deploy.local.stack import running

USER = "activity"
ADMINISTRATOR = "administrator"
DATABASE = "activity"
TOPICS = ("activity.calls", "activity.emails")
DEAD_LETTER_TOPIC = "activity.dead_letters"


@dataclass(frozen=True, slots=True)
class Secured:
    """The servers, and the files by which a process is let in."""

    folder: Path
    mongo: MongoServer
    kafka: KafkaServer
    kafka_password: str
    administrator_password: str
    secrets: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Settings as in the production overlay: every secret is a file."""
        return {
            "ACTIVITY_CURSOR_SECRET_FILE": str(self.folder / "cursor-secret"),
            "ACTIVITY_MONGO_DATABASE": DATABASE,
            "ACTIVITY_MONGO_URL_FILE": str(self.folder / "mongo-url"),
            "ACTIVITY_MONGO_TLS_CA_PATH": str(self.folder / "ca.pem"),
            "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS": self.kafka.addresses["SASL_SSL"],
            "ACTIVITY_KAFKA_TOPICS": ",".join(TOPICS),
            "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC": DEAD_LETTER_TOPIC,
            "ACTIVITY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ACTIVITY_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "ACTIVITY_KAFKA_SASL_USERNAME_FILE": str(self.folder / "kafka-username"),
            "ACTIVITY_KAFKA_SASL_PASSWORD_FILE": str(self.folder / "kafka-password"),
            "ACTIVITY_KAFKA_SSL_CA_PATH": str(self.folder / "ca.pem"),
        }

    def file(self, name: str, text: str) -> str:
        """Another file beside them, for a test that wants something wrong."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def producer(self) -> AIOKafkaProducer:
        """A producer that comes in by the same door as the consumers."""
        return AIOKafkaProducer(
            bootstrap_servers=self.kafka.addresses["SASL_SSL"],
            security_protocol="SASL_SSL",
            ssl_context=ssl.create_default_context(cafile=self.folder / "ca.pem"),
            sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username=USER,
            sasl_plain_password=self.kafka_password,
        )

    def administration(self) -> AsyncMongoClient[dict[str, Any]]:
        """MongoDB's administrator."""
        return AsyncMongoClient(
            self.mongo.url,
            username=ADMINISTRATOR,
            password=self.administrator_password,
            **_client_options(self.folder),
        )

    def mongo_url(self, password: str) -> str:
        user = f"{USER}:{quote(password, safe='')}"
        return f"mongodb://{user}@127.0.0.1:{self.mongo.port}/?replicaSet=local"


@asynccontextmanager
async def secured_servers(
    folder: Path, *, properties: Mapping[str, str] | None = None, with_topics: bool = True
) -> AsyncIterator[Secured]:
    """Both servers with certificates and passwords made on the spot; `properties` are Kafka's."""
    folder.mkdir()
    _make_certificates(folder)
    # What may stand in a password, if it must travel in a URL and in a properties file.
    passwords = [f"p:@/{secrets.token_hex(8)}" for _ in range(3)]
    kafka_password, mongo_password, cursor_secret = passwords
    secured = Secured(
        folder,
        _mongo(folder),
        secured_kafka(folder / "kafka", folder, kafka_password, properties),
        kafka_password,
        secrets.token_hex(16),
        # Without the marks, which are written in another way inside a URL.
        tuple(password.rpartition("/")[2] for password in passwords),
    )
    secured.file("cursor-secret", f"{cursor_secret}\n")
    secured.file("kafka-username", f"{USER}\n")
    secured.file("kafka-password", f"{kafka_password}\n")
    secured.file("mongo-url", secured.mongo_url(mongo_password))
    async with running(secured.mongo, secured.kafka):
        await _create_mongo_user(secured, mongo_password)
        if with_topics:
            # Kafka's own plain listener is the administrator's way in.
            await create_topics(secured.kafka.bootstrap_servers, TOPICS, partitions=2)
            await create_dead_letter_topic(secured.kafka.bootstrap_servers, DEAD_LETTER_TOPIC)
        yield secured


def _make_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    # Kafka takes no other form of a key than PKCS 8.
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    (folder / "server.pem").write_bytes(key + chain)
    member_key = folder / "member-key"
    member_key.write_text(secrets.token_hex(32))
    member_key.chmod(0o400)


def _mongo(folder: Path) -> MongoServer:
    return MongoServer(
        folder / "mongodb",
        arguments=[
            *("--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"),
            *("--tlsCertificateKeyFile", str(folder / "server.pem")),
            *("--tlsCAFile", str(folder / "ca.pem")),
            *("--auth", "--keyFile", str(folder / "member-key")),
        ],
        client_options=_client_options(folder),
    )


def _client_options(folder: Path) -> dict[str, Any]:
    return {"tls": True, "tlsCAFile": str(folder / "ca.pem")}


def secured_kafka(
    folder: Path,
    certificates: Path,
    password: str,
    properties: Mapping[str, str] | None = None,
    joins: KafkaServer | None = None,
) -> KafkaServer:
    mechanism = "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config"
    return KafkaServer(
        folder,
        listeners=["SASL_SSL"],
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates / "server.pem"),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            mechanism: "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            **(properties or {}),
        },
        scram_users={} if joins else {USER: password},
        joins=joins,
    )


async def _create_mongo_user(secured: Secured, password: str) -> None:
    """The first user, who may make others, may be made from the same machine without being one."""
    async with AsyncMongoClient[dict[str, Any]](
        secured.mongo.url, **_client_options(secured.folder)
    ) as client:
        await _create_user(
            client,
            username=ADMINISTRATOR,
            password=secured.administrator_password,
            roles=["root"],
        )
    async with secured.administration() as client:
        roles = [{"role": role, "db": DATABASE} for role in ("readWrite", "dbAdmin")]
        await _create_user(client, username=USER, password=password, roles=roles)


async def _create_user(
    client: AsyncMongoClient[dict[str, Any]], *, username: str, password: str, roles: Sequence[Any]
) -> None:
    await client.admin.command("createUser", username, pwd=password, roles=roles)
