"""The consumer process from start to stop: its composition root."""

import asyncio
import logging

from aiokafka import TopicPartition

from consumers.cluster import check_cluster, quiet_client
from consumers.connections import Connection
from consumers.dead_letters import DeadLetterProducer
from consumers.deadlines import cancel, unless, within
from consumers.fuse import Fuse
from consumers.health import Health
from consumers.patience import Patience
from consumers.quarantine import Quarantine
from consumers.runner import Runner
from consumers.writer import Writer
from service.commands import log_start
from service.errors import Halted, StoreError
from service.garbage import collect_rarely
from service.observability import RECORDS, count_by, probe_server
from service.settings import IngestSettings, KafkaSettings, MongoSettings
from service.signals import stop_on_signal
from service.store.indexes import check_indexes
from service.store.mongo import Mongo, connect, require_mongo
from service.store.skips import is_skipped

logger = logging.getLogger("consumers")

_SECRETS = {"sasl_username", "sasl_password"}
# How often the store is looked at while nothing is written, or nothing may be.
LOOK_SECONDS = 2.0
# Brokers may learn of a new password one after the other.
REFUSED_LOGIN_SECONDS = 30.0


async def consume(
    kafka: KafkaSettings,
    mongo_settings: MongoSettings,
    ingest: IngestSettings,
    *,
    keeps_feed: bool = False,
) -> None:
    """Raises `StartError` where the process cannot start and `Halted` where it stops itself."""
    health = Health()
    with stop_on_signal() as stop:
        async with (
            connect(mongo_settings, keeps_feed=keeps_feed) as mongo,
            probe_server(
                host=ingest.operations_host,
                port=ingest.operations_port,
                is_alive=health.is_alive,
                is_ready=health.is_ready,
                note=health.note,
            ) as port,
        ):
            with quiet_client():
                await asyncio.gather(require_mongo(mongo), check_cluster(kafka))
            log_start(
                logger,
                mongo_settings,
                ("aiokafka", "uvloop"),
                operations_port=port,
                kafka=kafka.model_dump(mode="json", exclude=_SECRETS),
                limits=ingest.model_dump(mode="json"),
            )
            collect_rarely()
            try:
                await work(kafka, ingest, mongo, health, stop)
            finally:
                logger.info("stopped", extra={"records": count_by(RECORDS, "outcome")})


async def work(
    kafka: KafkaSettings, ingest: IngestSettings, mongo: Mongo, health: Health, stop: asyncio.Event
) -> None:
    """One consumer on servers that answer, until `stop` is set. Raises `Halted`."""
    async with DeadLetterProducer(kafka) as dead_letters:
        writer = Writer(
            mongo,
            dead_letters,
            kafka.dead_letter_topic,
            Fuse(ingest.dead_letter_max_ratio),
            health,
            Patience(ingest.refusal_patience_seconds),
            retry_max_seconds=ingest.retry_max_seconds,
            stop=stop,
        )

        async def is_decided(partition: TopicPartition, offset: int) -> bool:
            place = partition.topic, partition.partition, offset
            return await is_skipped(mongo, kafka.group_id, *place)

        quarantine = Quarantine(health, is_decided)
        runner = Runner(kafka, ingest, writer.write, health, quarantine)
        await _await_indexes(mongo, health, stop)
        parts = {
            asyncio.create_task(_watch_store(mongo, health), name="watch store"),
            asyncio.create_task(_watch_logins(), name="watch logins"),
            asyncio.create_task(runner.run(stop), name="run"),
        }
        done, late = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        await cancel(late)
        for task in done:
            task.result()


async def _await_indexes(mongo: Mongo, health: Health, stop: asyncio.Event) -> None:
    """Without the indexes nothing is consumed, and no group is joined."""
    while not await unless(stop, _look(mongo, health)) and not stop.is_set():
        await within(LOOK_SECONDS, stop.wait())


async def _watch_store(mongo: Mongo, health: Health) -> None:
    """So that readiness is true also while there is nothing to write, or nothing may be."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await _look(mongo, health)


async def _watch_logins() -> None:
    """Raises `Halted` where Kafka lets this process in no more: a start reads the files again."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if Connection.logins.refused_seconds >= REFUSED_LOGIN_SECONDS:
            raise Halted(
                "ACTIVITY_KAFKA_SASL_USERNAME, ACTIVITY_KAFKA_SASL_PASSWORD: Kafka has refused them"
                f" for {REFUSED_LOGIN_SECONDS:.0f} seconds"
            )


async def _look(mongo: Mongo, health: Health) -> bool:
    try:
        missing = await check_indexes(mongo)
    except StoreError as error:
        health.fail("mongodb", str(error))
        mongo.login.require()
        return False
    health.recover("mongodb")
    if missing:
        health.fail("indexes", "; ".join(missing))
        return False
    health.recover("indexes")
    return True
