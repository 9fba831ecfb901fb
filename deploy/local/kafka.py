"""A real Kafka: one broker that is its own controller (KRaft), as a child process."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

from deploy.local.prerequisites import find_java, find_kafka_jars
from deploy.local.processes import Server, find_free_port
from service.errors import StartError

_CLUSTER_ID = "YWN0aXZpdHktc2VydmljZQ"
_JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_MAX_MESSAGE_BYTES = 13 * 1024 * 1024
_ADMINISTRATION_MAX_MS = 10_000
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "broker.heartbeat.interval.ms": "300",
    "broker.session.timeout.ms": "2000",  # a killed broker may come back only after this
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}


class KafkaServer(Server):
    """`bootstrap_servers` is a plain listener, always there.

    `listeners` names further security protocols (`SASL_SSL`, ...), whose addresses are then in
    `addresses`; `properties` go over the broker's own; `scram_users` (name to password) are known
    to SCRAM-SHA-512 from the first start. One that `joins` another is a second broker beside it.
    """

    name = "Kafka"
    error_pattern = re.compile(r"ERROR|FATAL|^Exception|^Caused by|^Error")

    def __init__(
        self,
        folder: Path,
        *,
        listeners: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        joins: "KafkaServer | None" = None,
    ) -> None:
        super().__init__(folder)
        self.addresses = {"PLAINTEXT": f"127.0.0.1:{self.port}"} | {
            protocol: f"127.0.0.1:{find_free_port()}" for protocol in listeners
        }
        self._controller: str = joins._controller if joins else f"127.0.0.1:{find_free_port()}"
        self._joins = joins
        self._properties = properties or {}
        self._scram_users = scram_users or {}

    @property
    def bootstrap_servers(self) -> str:
        return self.addresses["PLAINTEXT"]

    def join(self, other: "KafkaServer", node_id: int) -> None:
        """Be a further broker of that one's cluster, from the first start on."""
        address = f"PLAINTEXT://{self.bootstrap_servers}"
        self._properties = {
            "process.roles": "broker",
            "node.id": str(node_id),
            "controller.quorum.voters": f"1@{other._controller}",
            "listeners": address,
            "advertised.listeners": address,
        }

    async def _prepare(self) -> Sequence[str | Path]:
        java = await asyncio.to_thread(find_java)
        jars = await asyncio.to_thread(find_kafka_jars)
        run: list[str | Path] = [java, *_JVM_OPTIONS, "-cp", f"{jars}/*"]
        properties = "server.properties"
        content = "".join(f"{key}={value}\n" for key, value in self._merged().items())
        (self.folder / properties).write_text(content)
        if not (self.folder / "data" / "meta.properties").exists():
            storage = [*run, "kafka.tools.StorageTool", "format", *self._scram_options()]
            await self._run_once([*storage, "-t", _CLUSTER_ID, "-c", properties])
        return [*run, "kafka.Kafka", properties]

    async def _is_ready(self) -> bool:
        try:
            async with administration(self.bootstrap_servers) as admin:
                return bool((await admin.describe_cluster())["brokers"])
        except (KafkaError, StartError):
            return False

    def _scram_options(self) -> list[str]:
        return [
            f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]"
            for name, password in self._scram_users.items()
        ]

    def _merged(self) -> dict[str, str]:
        own = {name: f"{name}://{address}" for name, address in self.addresses.items()}
        protocols = {"CONTROLLER": "PLAINTEXT"} | {name: name for name in own}
        controller = [] if self._joins else [f"CONTROLLER://{self._controller}"]
        second = {"process.roles": "broker", "node.id": "2"} if self._joins else {}
        return {
            **_PROPERTIES,
            **second,
            "controller.quorum.voters": f"1@{self._controller}",
            "listeners": ",".join([*own.values(), *controller]),
            "advertised.listeners": ",".join(own.values()),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in protocols.items()
            ),
            # Below its working directory, whose name may hold what Java does not read here.
            "log.dirs": "data",
            **self._properties,
        }

    def _environment(self) -> Mapping[str, str]:
        # A developer's own Java options would print a line at every start, or worse.
        return {name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"}


@asynccontextmanager
async def administration(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that creates and describes topics. Raises `StartError` where nobody answers."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        try:
            await client.start()
        except KafkaConnectionError as error:
            raise StartError(f"Kafka does not answer at {bootstrap_servers}") from error
        yield client
    finally:
        await client.close()


async def create_topics(
    bootstrap_servers: str,
    names: Iterable[str],
    *,
    partitions: int = 1,
    max_message_bytes: int = _MAX_MESSAGE_BYTES,
) -> None:
    """Create topics that take any record that the service takes. Raises `KafkaError`."""
    configs = {"max.message.bytes": str(max_message_bytes)}
    topics = [NewTopic(name, partitions, 1, topic_configs=configs) for name in names]
    async with administration(bootstrap_servers) as admin:
        answer = await admin.create_topics(topics, timeout_ms=_ADMINISTRATION_MAX_MS)
    for topic, code, reason in answer.topic_errors:
        if code:
            raise KafkaError(f"topic {topic} cannot be created: {reason}")


async def create_dead_letter_topic(bootstrap_servers: str, name: str) -> None:
    """Create a dead-letter topic with room for the headers that are added (contract 1.6)."""
    room = _MAX_MESSAGE_BYTES + 1024 * 1024
    await create_topics(bootstrap_servers, [name], max_message_bytes=room)


async def delete_topics(bootstrap_servers: str, names: Iterable[str]) -> None:
    """Delete topics with all that is in them."""
    async with administration(bootstrap_servers) as admin:
        await admin.delete_topics(list(names), timeout_ms=_ADMINISTRATION_MAX_MS)
