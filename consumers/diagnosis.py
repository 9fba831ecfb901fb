"""Whether Kafka is as the consumers need it, asked without changing anything there."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import OffsetAndMetadata
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from consumers.cluster import (
    DEAD_LETTER_ROOM_BYTES,
    START_TIMEOUT_SECONDS,
    all_topics,
    require_kafka,
    to_client_options,
)
from service.diagnosis import (
    Clock,
    Finding,
    examine_certificate,
    failed,
    has_failed,
    judge,
    ok,
    unknown,
)
from service.errors import StartError
from service.settings import KafkaSettings, RetentionSettings

MAX_MESSAGE_BYTES, RETENTION, CLEANUP, IN_SYNC = CONFIGURATION = (
    *("max.message.bytes", "retention.ms", "cleanup.policy", "min.insync.replicas"),
)
# The share of its retention that a topic's oldest unread record may have used up.
MAX_LAG_OF_RETENTION = 0.5
# Producers' clocks may be a little ahead.
FUTURE = timedelta(minutes=10)
_NO_PARTITION = 2**31 - 1
_NEVER = -1
_POLL_MILLISECONDS = 3000
_RETRY_SECONDS = 0.2
_MISSING_LOGIN = (
    "correct ACTIVITY_KAFKA_SASL_USERNAME, ACTIVITY_KAFKA_SASL_PASSWORD and"
    " ACTIVITY_KAFKA_SASL_MECHANISM"
)
_UNREACHABLE = (
    "correct ACTIVITY_KAFKA_BOOTSTRAP_SERVERS and ACTIVITY_KAFKA_SECURITY_PROTOCOL, and let the"
    " network policy activity-kafka out to every broker's advertised address"
)


@dataclass(frozen=True, slots=True)
class Topic:
    """What Kafka says of a topic: the replicas of each partition, those without leader, and its
    configuration (None where this user may not see it)."""

    name: str
    replicas: Mapping[int, int]
    leaderless: tuple[int, ...]
    configuration: Mapping[str, str] | None


async def examine_kafka(
    settings: KafkaSettings,
    retention: RetentionSettings,
    *,
    clock: Clock = lambda: datetime.now(UTC),
) -> list[Finding]:
    """Every check that can be made. Raises `StartError` where a certificate or key of ours cannot be
    used."""
    options = to_client_options(settings)
    findings = await _examine_certificates(settings, options, clock)
    if has_failed(findings):
        return findings
    try:
        await require_kafka(settings)
    except StartError as error:
        mend = _MISSING_LOGIN if "SASL_PASSWORD" in str(error) else _UNREACHABLE
        return [*findings, failed("Kafka", str(error), mend)]
    findings.append(ok("Kafka", f"{settings.bootstrap_servers} answers"))
    try:
        async with _administration(options) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            topics = await _find_topics(admin, all_topics(settings))
            findings.append(_examine_topics(settings, topics))
            findings += _examine_each(settings, retention, topics, brokers)
            findings += await _examine_rights(settings, options, topics)
            if not has_failed(findings[-1:]):
                findings += await _examine_records(settings, options, admin, topics, clock)
    except (KafkaError, TimeoutError) as error:
        fault = f"it stopped answering: {error or type(error).__name__}"
        findings.append(failed("Kafka", fault, _UNREACHABLE))
    return findings


async def _examine_certificates(
    settings: KafkaSettings, options: Mapping[str, Any], clock: Clock
) -> list[Finding]:
    if "ssl_context" not in options:
        return []
    return [
        await examine_certificate(
            "Kafka", host, port, options["ssl_context"], "ACTIVITY_KAFKA_SSL_CA_PATH", clock
        )
        for host, port, _ in collect_hosts(settings.bootstrap_servers)
    ]


@asynccontextmanager
async def _administration(options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**options, request_timeout_ms=START_TIMEOUT_SECONDS * 1000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _find_topics(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, Topic]:
    """Those that exist and that this user may see. All are asked for: to name one might make it."""
    described = {topic["topic"]: topic for topic in await admin.describe_topics()}
    known = [name for name in names if name in described]
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(CONFIGURATION, ""))
        for name in known
    ]
    configurations: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(wanted) if wanted else ():
        for error_code, _, _, name, entries in response.resources:
            if not error_code:
                configurations[name] = {entry[0]: entry[1] for entry in entries}
    return {
        name: Topic(
            name,
            {one["partition"]: len(one["replicas"]) for one in described[name]["partitions"]},
            tuple(one["partition"] for one in described[name]["partitions"] if one["leader"] < 0),
            configurations.get(name),
        )
        for name in known
    }


def _examine_topics(settings: KafkaSettings, topics: Mapping[str, Topic]) -> Finding:
    missing = [name for name in all_topics(settings) if name not in topics]
    mend = "; ".join(
        f"kafka-topics.sh --bootstrap-server {settings.bootstrap_servers} --create --topic {name}"
        for name in missing
    )
    leaderless = [f"{topic.name}-{one}" for topic in topics.values() for one in topic.leaderless]
    if leaderless and not missing:
        return failed("Kafka topics", f"no leader: {', '.join(leaderless)}", "start their brokers")
    return judge(
        "Kafka topics",
        f"missing, or hidden from this user: {', '.join(missing)}" if missing else None,
        f"{mend}; or grant Describe on it",
        ", ".join(f"{topic.name} ({len(topic.replicas)})" for topic in topics.values()),
    )


def _examine_each(
    settings: KafkaSettings, retention: RetentionSettings, topics: Mapping[str, Topic], brokers: int
) -> list[Finding]:
    findings = [_examine_copies(settings, topics, brokers)]
    unseen = [topic.name for topic in topics.values() if topic.configuration is None]
    if unseen:
        fault = f"the configuration of {', '.join(unseen)} may not be seen"
        return [
            *findings,
            failed(
                "Kafka configuration",
                fault,
                _grant(settings, "DescribeConfigs", f"--topic {unseen[0]}"),
            ),
        ]
    return [
        *findings,
        _examine_room(settings, topics),
        _examine_retention(settings, retention, topics),
    ]


def _examine_copies(settings: KafkaSettings, topics: Mapping[str, Topic], brokers: int) -> Finding:
    check = "Kafka copies"
    if brokers == 1:
        return unknown(check, "there is one broker: when its disk is lost, so is what is unread")
    for topic in topics.values():
        copies = min(topic.replicas.values())
        in_sync = int((topic.configuration or {}).get(IN_SYNC, 1))
        if copies == 1:
            return failed(
                check,
                f"{topic.name} has one copy on {brokers} brokers",
                "kafka-reassign-partitions.sh, with three replicas a partition",
            )
        if in_sync > copies or (in_sync < 2 and copies > 2):
            return failed(
                check,
                f"{topic.name} has {copies} copies, of which {in_sync} must have a record",
                _alter(settings, topic.name, IN_SYNC, max(1, copies - 1)),
            )
    return ok(check, ", ".join(f"{t.name} {min(t.replicas.values())}" for t in topics.values()))


def _examine_room(settings: KafkaSettings, topics: Mapping[str, Topic]) -> Finding:
    limits = {
        topic.name: int((topic.configuration or {})[MAX_MESSAGE_BYTES]) for topic in topics.values()
    }
    room = limits.pop(settings.dead_letter_topic, None)
    needed = max(limits.values(), default=0) + DEAD_LETTER_ROOM_BYTES
    if room is None:
        return unknown("Kafka room", "there is no dead-letter topic")
    return judge(
        "Kafka room",
        f"the dead-letter topic takes {room} bytes, and needs {needed}" if room < needed else None,
        _alter(settings, settings.dead_letter_topic, MAX_MESSAGE_BYTES, needed),
        f"the dead-letter topic takes {room} bytes, the others less",
    )


def _examine_retention(
    settings: KafkaSettings, retention: RetentionSettings, topics: Mapping[str, Topic]
) -> Finding:
    """A record that outlives the delete marker of its activity would bring it back."""
    check, longest = "Kafka retention", timedelta(days=retention.tombstone_days)
    for topic in topics.values():
        configuration = topic.configuration or {}
        milliseconds = int(configuration[RETENTION])
        if "compact" in configuration[CLEANUP]:
            mend = _alter(settings, topic.name, CLEANUP, "delete")
            return failed(check, f"{topic.name} is compacted: its records stay for ever", mend)
        if milliseconds == _NEVER or timedelta(milliseconds=milliseconds) >= longest:
            kept = "for ever" if milliseconds == _NEVER else f"{milliseconds / 86_400_000:g} days"
            return failed(
                check,
                f"{topic.name} keeps records {kept}, delete markers {retention.tombstone_days} days",
                f"raise ACTIVITY_TOMBSTONE_DAYS, or"
                f" {_alter(settings, topic.name, RETENTION, 7 * 86_400_000)}",
            )
    return ok(check, f"of every topic below ACTIVITY_TOMBSTONE_DAYS={retention.tombstone_days}")


async def _examine_rights(
    settings: KafkaSettings, options: Mapping[str, Any], topics: Mapping[str, Topic]
) -> list[Finding]:
    """Each is tried on something that does not exist: Kafka looks at the right first."""
    host, port, _ = collect_hosts(settings.bootstrap_servers)[0]
    others = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    connection = await create_conn(
        host, port, request_timeout_ms=START_TIMEOUT_SECONDS * 1000, **others
    )
    try:
        missing = [
            ("Read", f"--topic {name}") for name in topics if not await _may_read(connection, name)
        ]
        dead_letters = settings.dead_letter_topic
        if dead_letters in topics and not await _may_write(connection, dead_letters):
            missing.append(("Write", f"--topic {dead_letters}"))
        if not await _may_join(connection, settings.group_id):
            missing.append(("Read", f"--group {settings.group_id}"))
    finally:
        connection.close()
    denied = ", ".join(f"{operation} {what.removeprefix('--')}" for operation, what in missing)
    return [
        judge(
            "Kafka rights",
            f"denied: {denied}" if missing else None,
            "; ".join(_grant(settings, operation, what) for operation, what in missing),
            "topics and group may be read, the dead-letter topic written",
        )
    ]


async def _may_read(connection: AIOKafkaConnection, topic: str) -> bool:
    answer = await connection.send(FetchRequest(0, 0, 1, 0, [(topic, [(_NO_PARTITION, 0, 1)])]))
    ((_, (partition, *_)),) = answer.topics
    return bool(partition[1] != TopicAuthorizationFailedError.errno)


async def _may_write(connection: AIOKafkaConnection, topic: str) -> bool:
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1024,
    )
    batch.append(0, timestamp=0, key=None, value=b"", headers=[])
    partitions = [(_NO_PARTITION, bytes(batch.build()))]
    answer = await connection.send(ProduceRequest(None, -1, 1000, [(topic, partitions)]))
    ((_, (partition, *_)),) = answer.topics
    return bool(partition[1] != TopicAuthorizationFailedError.errno)


async def _may_join(connection: AIOKafkaConnection, group: str) -> bool:
    answer = await connection.send(HeartbeatRequest(group, _NEVER, "nobody"))
    return bool(answer.error_code != GroupAuthorizationFailedError.errno)


async def _examine_records(
    settings: KafkaSettings,
    options: Mapping[str, Any],
    admin: AIOKafkaAdminClient,
    topics: Mapping[str, Topic],
    clock: Clock,
) -> list[Finding]:
    partitions = [
        TopicPartition(name, partition)
        for name in settings.topics
        if name in topics
        for partition in topics[name].replicas
        if partition not in topics[name].leaderless
    ]
    committed = await _find_positions(admin, settings.group_id)
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="none")
    await consumer.start()
    try:
        return [
            await _examine_lag(
                consumer,
                partitions,
                {partition: position.offset for partition, position in committed.items()},
                topics,
                clock,
            ),
            await _examine_future(consumer, partitions, clock),
        ]
    finally:
        await consumer.stop()


async def _find_positions(
    admin: AIOKafkaAdminClient, group: str
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """Those that the group has committed. A new cluster makes the topic that holds them when it is
    first asked, which takes a moment."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(lambda error: getattr(error, "retriable", False)),
        stop=stop_after_delay(START_TIMEOUT_SECONDS),
        wait=wait_fixed(_RETRY_SECONDS),
        reraise=True,
    ):
        with attempt:
            found: Mapping[TopicPartition, OffsetAndMetadata]
            found = await admin.list_consumer_group_offsets(group)
            return found
    raise AssertionError("either returned or raised")


async def _examine_lag(
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    committed: Mapping[TopicPartition, int],
    topics: Mapping[str, Topic],
    clock: Clock,
) -> Finding:
    check, mend = "Kafka lag", "start consumers, or more of them; until then raise retention.ms"
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    gone = [one for one in partitions if 0 <= committed.get(one, first[one]) < first[one]]
    if gone:
        texts = ", ".join(f"{one.topic}-{one.partition}" for one in gone)
        return failed(check, f"retention has passed unread records of {texts}", mend)
    behind = {one: max(first[one], committed.get(one, 0)) for one in partitions}
    behind = {one: offset for one, offset in behind.items() if offset < end[one]}
    for partition, age in (await _ages(consumer, behind, clock)).items():
        configuration = topics[partition.topic].configuration or {}
        kept = int(configuration.get(RETENTION, _NEVER))
        if kept != _NEVER and age > MAX_LAG_OF_RETENTION * timedelta(milliseconds=kept):
            hours = age.total_seconds() / 3600
            return failed(
                check,
                f"{partition.topic}-{partition.partition} is {hours:.1f} h behind, and its records"
                f" are kept for {kept / 3_600_000:g} h",
                mend,
            )
    return ok(check, f"{len(behind)} of {len(partitions)} partitions have unread records")


async def _ages(
    consumer: AIOKafkaConsumer, behind: Mapping[TopicPartition, int], clock: Clock
) -> dict[TopicPartition, timedelta]:
    """The age of the first unread record of each partition, as far as it comes in time."""
    ages: dict[TopicPartition, timedelta] = {}
    if not behind:
        return ages
    consumer.assign(list(behind))
    for partition, offset in behind.items():
        consumer.seek(partition, offset)
    while fetched := await consumer.getmany(timeout_ms=_POLL_MILLISECONDS):
        for partition, records in fetched.items():
            written = datetime.fromtimestamp(records[0].timestamp / 1000, UTC)
            ages.setdefault(partition, clock() - written)
        consumer.pause(*fetched)
        if len(ages) == len(behind):
            break
    return ages


async def _examine_future(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], clock: Clock
) -> Finding:
    """Kafka tells no time, but its records do."""
    limit = int((clock() + FUTURE).timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, limit))
    ahead = [f"{one.topic}-{one.partition}" for one, offset in found.items() if offset is not None]
    return judge(
        "Kafka clock",
        f"records of the future in {', '.join(ahead)}" if ahead else None,
        "let NTP set the clocks of producers, brokers and this machine",
        "no record is of the future",
    )


def _alter(settings: KafkaSettings, topic: str, key: str, value: object) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter"
        f" --entity-type topics --entity-name {topic} --add-config {key}={value}"
    )


def _grant(settings: KafkaSettings, operation: str, what: str) -> str:
    return (
        f"kafka-acls.sh --bootstrap-server {settings.bootstrap_servers} --add"
        f" --allow-principal User:{settings.sasl_username or 'USER'} --operation {operation} {what}"
    )
