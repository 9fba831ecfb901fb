"""Servers as the pages ask for them, on which faults are planted: TLS, passwords, exactly the rights
that the pages name, two brokers, every topic twice."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from deploy import rendering
from deploy.local.commands import run_command
from deploy.local.kafka import administration
from deploy.local.stack import running
from tests.deploy.secured import USER, Secured, secured_kafka, secured_servers

GROUP = "activity-consumers"
TOPICS = ("activity.calls", "activity.emails")
DEAD_LETTER_TOPIC = "activity.dead_letters"
_AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # Who comes by the plain listener: the brokers, and the administrator.
    "super.users": "User:ANONYMOUS",
}
_DAYS = 7 * 86_400_000
CONFIGURATION = {
    "max.message.bytes": "1048576",
    "retention.ms": str(_DAYS),
    "min.insync.replicas": "1",
    "cleanup.policy": "delete",
}
DEAD_LETTER_CONFIGURATION = CONFIGURATION | {"max.message.bytes": "2097152"}

# As the protocol numbers them.
_RESOURCES = {"topic": 2, "group": 3}
_PATTERNS = {"literal": 3, "prefix": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3

Right = tuple[int, str, int, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Clinic:
    """The healthy servers, and the hands that plant and heal."""

    secured: Secured

    @property
    def bootstrap_servers(self) -> str:
        """The administrator's way in."""
        return self.secured.kafka.bootstrap_servers

    def environment(self) -> dict[str, str]:
        return self.secured.environment() | {
            "ACTIVITY_KAFKA_TOPICS": ",".join(TOPICS),
            "ACTIVITY_KAFKA_GROUP_ID": GROUP,
            "ACTIVITY_FEED_HOURS": "24",
        }

    async def configure(self, topic: str, **changes: str) -> None:
        """Set a topic's configuration to the healthy one but for the changes (`_` for `.`)."""
        healthy = DEAD_LETTER_CONFIGURATION if topic == DEAD_LETTER_TOPIC else CONFIGURATION
        configuration = healthy | {key.replace("_", "."): value for key, value in changes.items()}
        async with administration(self.bootstrap_servers) as admin:
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configuration)]
            )

    async def topics(self) -> list[str]:
        async with administration(self.bootstrap_servers) as admin:
            names: list[str] = await admin.list_topics()
            return names

    async def make_indexes(self) -> None:
        await run_command("service", "indexes", environment=self.environment())

    @asynccontextmanager
    async def without(self, resource: str, name: str, operation: str) -> AsyncIterator[None]:
        """Kafka's user lacks one right meanwhile."""
        lost = [right for right in rights() if right[0] == _RESOURCES[resource]]
        lost = [one for one in lost if one[1] == name and one[5] == _OPERATIONS[operation]]
        assert lost
        async with administration(self.bootstrap_servers) as admin:
            await _each(admin, DeleteAclsRequest, lost)
            try:
                yield
            finally:
                await _each(admin, CreateAclsRequest, lost)

    @asynccontextmanager
    async def mongo_roles(self, *roles: str) -> AsyncIterator[None]:
        """MongoDB's user has only these roles meanwhile."""
        healthy = ("readWrite", "dbAdmin")
        async with self.secured.administration() as client:
            for chosen in (roles, healthy):
                await client.admin.command(
                    "updateUser", USER, roles=[{"role": role, "db": "activity"} for role in chosen]
                )
                if chosen == roles:
                    yield


@asynccontextmanager
async def clinic(folder: Path) -> AsyncIterator[Clinic]:
    async with secured_servers(
        folder / "servers", properties=_AUTHORIZER, with_topics=False
    ) as secured:
        second = secured_kafka(
            folder / "second", secured.folder, secured.kafka_password, _AUTHORIZER, secured.kafka
        )
        async with running(second):
            healthy = Clinic(secured)
            await create(healthy, TOPICS, CONFIGURATION)
            await create(healthy, [DEAD_LETTER_TOPIC], DEAD_LETTER_CONFIGURATION)
            async with administration(healthy.bootstrap_servers) as admin:
                await _each(admin, CreateAclsRequest, rights())
            await healthy.make_indexes()
            yield healthy


async def create(
    healthy: Clinic,
    names: Iterable[str],
    configuration: Mapping[str, str],
    *,
    copies: int = 2,
) -> None:
    topics = [NewTopic(name, 2, copies, topic_configs=dict(configuration)) for name in names]
    async with administration(healthy.bootstrap_servers) as admin:
        answer = await admin.create_topics(topics, timeout_ms=10_000)
        assert not any(code for _, code, _ in answer.topic_errors), answer
        async with asyncio.timeout(20):
            while True:
                described = {topic["topic"]: topic for topic in await admin.describe_topics()}
                found = [described.get(topic.name) for topic in topics]
                if all(one and all(p["leader"] >= 0 for p in one["partitions"]) for one in found):
                    return
                await asyncio.sleep(0.05)


def rights() -> list[Right]:
    """What the KafkaUser for Strimzi may do, and nothing else."""
    (user,) = (
        manifest
        for manifest in rendering.build(rendering.KUBERNETES / "strimzi")
        if manifest["kind"] == "KafkaUser"
    )
    return [
        (
            _RESOURCES[rule["resource"]["type"]],
            rule["resource"]["name"],
            _PATTERNS[rule["resource"]["patternType"]],
            f"User:{USER}",
            "*",
            _OPERATIONS[operation],
            _ALLOW,
        )
        for rule in user["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    ]


async def _each(
    admin: AIOKafkaAdminClient,
    request: type[CreateAclsRequest] | type[DeleteAclsRequest],
    changed: Iterable[Right],
) -> None:
    for right in changed:
        answer = await admin._send_request(request(*right))
        # Each response begins with its error code.
        assert not any(response[0] for response in vars(answer)[_RESPONSES[request]]), answer


_RESPONSES = {
    CreateAclsRequest: "creation_responses",
    DeleteAclsRequest: "filter_responses",
}
