"""The command line of the consumers (contract 4)."""

import asyncio
import sys
from collections.abc import Callable
from typing import get_args

import click
import uvloop

from consumers.check import check
from consumers.cluster import quiet_client
from consumers.commands import configure_consumer_logging, with_kafka
from consumers.connections import recognize_lost_connections
from consumers.diagnosis import examine_kafka
from consumers.documents import asyncapi, schema
from consumers.explain import explain_command
from consumers.process import consume
from consumers.publish import publish
from consumers.quarantine import MAX_PAUSE_SECONDS
from consumers.replay import (
    Replay,
    Selection,
    describe,
    find_dead_letters,
    get_dead_letter,
    plan_replay,
    printable,
    replay,
)
from service.commands import Commands
from service.diagnosis import Finding, report
from service.errors import RejectionCode
from service.settings import (
    IngestSettings,
    KafkaSettings,
    MongoSettings,
    RetentionSettings,
    read_section,
)
from service.store.diagnosis import CONSUMER_RIGHTS, examine_mongo
from service.store.mongo import connect, require_mongo
from service.store.skips import decide_skip


@click.group(cls=Commands, help="Activity events from Kafka into MongoDB.")
def main() -> None:
    recognize_lost_connections()


for command in (schema, asyncapi, check, publish, explain_command):
    main.add_command(command)


@main.command(help="Work off events until SIGTERM.")
def run() -> None:
    kafka = read_section(KafkaSettings)
    mongo = read_section(MongoSettings)
    ingest, retention = read_section(IngestSettings), read_section(RetentionSettings)
    configure_consumer_logging()
    uvloop.run(consume(kafka, mongo, ingest, keeps_feed=retention.keeps_feed))


@main.command(help="Look whether Kafka, MongoDB and the settings are as this process needs them.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(as_json: bool) -> None:
    report(_examine, as_json=as_json)


def _examine() -> list[Finding]:
    kafka, mongo = read_section(KafkaSettings), read_section(MongoSettings)
    retention = read_section(RetentionSettings)
    read_section(IngestSettings)
    configure_consumer_logging()

    async def examine() -> list[Finding]:
        with quiet_client():
            found = await examine_mongo(mongo, CONSUMER_RIGHTS, keeps_feed=retention.keeps_feed)
            return found + await examine_kafka(kafka, retention)

    return asyncio.run(examine())


@main.command(help="Let the consumers pass over what they cannot read at OFFSET.")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
def skip(topic: str, partition: int, offset: int) -> None:
    kafka = read_section(KafkaSettings)
    mongo_settings = read_section(MongoSettings)
    configure_consumer_logging()

    async def decide() -> None:
        async with connect(mongo_settings) as mongo:
            await require_mongo(mongo)
            await decide_skip(mongo, kafka.group_id, topic, partition, offset)

    asyncio.run(decide())
    click.echo(
        f"the consumers of {kafka.group_id} pass over {topic}[{partition}]@{offset} with their next"
        f" try, within {MAX_PAUSE_SECONDS:.0f} seconds",
        err=True,
    )


@main.group(help="Records that could not be applied.")
def dead_letters() -> None:
    pass


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    code = click.option("--code", type=click.Choice(get_args(RejectionCode)), help="Only these.")
    organization = click.option("--organization", help="Only of this organization.")
    return code(organization(command))


@dead_letters.command(name="list", help="One line each: when, why, where from, whose.")
@_selecting
def list_command(code: str | None, organization: str | None) -> None:
    kafka = read_section(KafkaSettings)
    selection = Selection(code, organization)
    count = with_kafka(kafka, lambda: _print_all(kafka, selection))
    click.echo(f"{count} dead letters", err=True)


@dead_letters.command(
    name="show", help="The letter about the record that lay there, and its value."
)
@click.argument("topic")
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("offset", type=click.IntRange(min=0))
def show_command(topic: str, partition: int, offset: int) -> None:
    kafka = read_section(KafkaSettings)
    record = with_kafka(kafka, lambda: get_dead_letter(kafka, topic, partition, offset))
    if record is None:
        raise click.ClickException(f"no dead letter is about {topic}[{partition}]@{offset}")
    click.echo(describe(record), err=True)
    click.echo(f"key: {printable(repr(record.key))}", err=True)
    for name, value in record.headers:
        click.echo(
            f"{printable(name)}: {printable((value or b'').decode(errors='replace'))}", err=True
        )
    if record.value is not None:
        text = record.value.decode(errors="replace")
        click.echo(printable(text) if sys.stdout.isatty() else record.value)


@dead_letters.command(name="replay", help="Publish each distinct record once to its own topic.")
@_selecting
@click.option("--dry-run", is_flag=True, help="Only count.")
def replay_command(code: str | None, organization: str | None, dry_run: bool) -> None:
    kafka = read_section(KafkaSettings)
    selection = Selection(code, organization)
    plan = with_kafka(kafka, lambda: plan_replay(kafka, selection))
    count = len(plan.attempts)
    if plan.lost:
        click.echo(f"{plan.lost} dead letters name no existing topic: passed over", err=True)
    if plan.packed:
        click.echo(f"{plan.packed} dead letters are batches too large: passed over", err=True)
    if plan.bare:
        click.echo(f"{plan.bare} dead letters have no value: passed over", err=True)
    if dry_run:
        click.echo(f"{count} distinct records would be published")
        return
    done = Replay()
    try:
        with click.progressbar(length=count, label="replay", file=sys.stderr) as bar:
            with_kafka(kafka, lambda: replay(kafka, selection, plan, done, bar.update))
    finally:
        _tell(done)
    if done.refused:
        raise click.ClickException(f"{len(done.refused)} dead letters were refused by their topics")


def _tell(done: Replay) -> None:
    if done.gone:
        click.echo(f"{done.gone} have gone from the topic meanwhile", err=True)
    for line in done.refused:
        click.echo(f"refused by its topic: {line}", err=True)
    click.echo(f"{done.published} distinct records published")


async def _print_all(kafka: KafkaSettings, selection: Selection) -> int:
    count = 0
    async for record in find_dead_letters(kafka, selection):
        click.echo(describe(record))
        count += 1
    return count


if __name__ == "__main__":
    main()
