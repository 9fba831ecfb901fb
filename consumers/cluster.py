"""How to reach Kafka, and what must be in place there before a process starts."""

import logging
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from service.errors import StartError
from service.settings import KafkaSettings

logger = logging.getLogger(__name__)

# What a dead letter may add to its record: headers that say why (contract 1.6).
DEAD_LETTER_ROOM_BYTES = 64 * 1024
START_TIMEOUT_SECONDS = 10
_MAX_MESSAGE_BYTES = "max.message.bytes"


def to_client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The keywords that every client of aiokafka takes alike.

    Raises `StartError` where a certificate or key cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL") and settings.sasl_password:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


async def check_cluster(settings: KafkaSettings) -> None:
    """Raises `StartError` where Kafka cannot be reached, a topic is missing, or the dead-letter
    topic could not take every record of the others (contract 1.6)."""
    await require_kafka(settings)
    admin = AIOKafkaAdminClient(
        **to_client_options(settings), request_timeout_ms=START_TIMEOUT_SECONDS * 1000
    )
    try:
        await admin.start()
        await _check_topics(admin, settings)
        await _check_dead_letter_room(admin, settings)
    except (KafkaError, TimeoutError) as error:
        raise StartError(_unreachable(settings, error)) from error
    finally:
        await admin.close()


async def find_topics(kafka: KafkaSettings) -> set[str]:
    """The names of all topics. Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(**to_client_options(kafka))
    try:
        await consumer.start()
        return set(await consumer.topics())
    finally:
        await consumer.stop()


@contextmanager
def quiet_client() -> Iterator[None]:
    """While a process starts its own one line says what is wrong; what aiokafka and the event loop
    say of a connection is held back. After a failure too: the loop's word may come late."""
    loggers = [logging.getLogger(name) for name in ("aiokafka", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class ClientComplaints(logging.Filter):
    """aiokafka repeats itself in an outage, and takes the ordinary course of a group for errors:
    each of its complaints passes once in a while, the harmless ones not at all."""

    HARMLESS = (
        "Group Coordinator Request failed",  # a coordinator that is still being chosen
        "Heartbeat failed for group %s because it is rebalancing",
        "OffsetCommit failed for group %s due to group error",  # the runner counts lost commits
    )

    def __init__(self, interval_seconds: float) -> None:
        super().__init__("aiokafka")
        self._interval_seconds = interval_seconds
        self._due: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True  # somebody else's
        text, now = str(record.msg), time.monotonic()
        if text.startswith(self.HARMLESS) or now < self._due.get(text, 0):
            return False
        self._due[text] = now + self._interval_seconds
        return True


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_path)
    except OSError as error:
        raise StartError(_unusable("SSL_CA_PATH", settings.ssl_ca_path, error)) from error
    if settings.ssl_certificate_path:
        try:
            context.load_cert_chain(
                settings.ssl_certificate_path, settings.ssl_key_path, password=_no_password
            )
        except (OSError, ValueError) as error:
            variables = "SSL_CERTIFICATE_PATH and ACTIVITY_KAFKA_SSL_KEY_PATH"
            raise StartError(_unusable(variables, settings.ssl_certificate_path, error)) from error
    return context


def _no_password() -> str:
    """Without this, OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _unusable(variables: str, path: Path | None, error: Exception) -> str:
    return f"ACTIVITY_KAFKA_{variables}: cannot use {path}: {error}"


async def require_kafka(settings: KafkaSettings) -> None:
    """Raises `StartError` where no broker answers, with the reason that aiokafka's clients keep to
    themselves."""
    options = to_client_options(settings)
    cause: Exception = StartError("no host is named")
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            connection = await create_conn(
                host, port, request_timeout_ms=START_TIMEOUT_SECONDS * 1000, **options
            )
        except SaslAuthenticationFailed as error:
            raise StartError(
                "ACTIVITY_KAFKA_SASL_USERNAME, ACTIVITY_KAFKA_SASL_PASSWORD: Kafka at"
                f" {settings.bootstrap_servers} refuses them"
            ) from error
        except (OSError, KafkaError, TimeoutError, ValueError) as error:
            cause = error
        else:
            connection.close()
            return
    raise StartError(_unreachable(settings, cause)) from cause


def _unreachable(settings: KafkaSettings, error: Exception) -> str:
    return (
        f"ACTIVITY_KAFKA_BOOTSTRAP_SERVERS: cannot work with Kafka at {settings.bootstrap_servers}"
        f" over {settings.security_protocol}: {error or type(error).__name__}"
    )


async def _check_topics(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> None:
    known = set(await admin.list_topics())
    missing = [name for name in all_topics(settings) if name not in known]
    if missing:
        raise StartError(
            f"Kafka at {settings.bootstrap_servers} has no topic {', '.join(missing)}: create it, or"
            " change ACTIVITY_KAFKA_TOPICS or ACTIVITY_KAFKA_DEAD_LETTER_TOPIC"
        )


async def _check_dead_letter_room(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> None:
    limits = await _max_message_bytes(admin, all_topics(settings))
    largest = max((limits.get(name, 0) for name in settings.topics), default=0)
    needed = largest + DEAD_LETTER_ROOM_BYTES
    room = limits.get(settings.dead_letter_topic)
    if room is None:
        logger.warning(
            "cannot see whether the dead-letter topic takes every record: no right to describe it"
        )
    elif room < needed:
        raise StartError(
            f"the dead-letter topic takes records of {room} bytes, the others of up to {largest}:"
            f" kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter"
            f" --entity-type topics --entity-name {settings.dead_letter_topic}"
            f" --add-config {_MAX_MESSAGE_BYTES}={needed}"
        )


async def _max_message_bytes(
    admin: AIOKafkaAdminClient, topics: Iterable[str]
) -> Mapping[str, int]:
    """By topic; one that this user may not describe is left out."""
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, name, {_MAX_MESSAGE_BYTES: ""}) for name in topics
    ]
    limits = {}
    for response in await admin.describe_configs(wanted):
        for error_code, _, _, name, entries in response.resources:
            if not error_code and entries:
                limits[name] = int(entries[0][1])
    return limits


def all_topics(settings: KafkaSettings) -> tuple[str, ...]:
    """Those that are read, and the dead-letter topic."""
    return (*settings.topics, settings.dead_letter_topic)
