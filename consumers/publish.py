"""`activity-consumers publish`: events of files to their topics (contract 4)."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumers.check import tell, tell_summary
from consumers.cluster import find_topics
from consumers.commands import with_kafka
from consumers.dead_letters import fault_of, new_producer
from consumers.judgement import Judgement, Summary, judge
from consumers.lines import read_lines, size_of
from consumers.topics import Address, find_address
from service.errors import StartError
from service.settings import IngestSettings, KafkaSettings, read_section

# What is waited for at once: an interruption leaves at most so much unclear.
_MAX_TOGETHER = 500
# With a rate, so many times a second some are sent.
_STEPS_A_SECOND = 10
_MAX_TOLD = 10_000


class Parcel(NamedTuple):
    """A record on its way to its topic, and the line that it is from."""

    address: Address
    judgement: Judgement


@dataclass(slots=True)
class Report:
    """What became of the lines: `published` counts by topic, `told` is what to say of those that are
    odd or were not sent."""

    summary: Summary = field(default_factory=Summary)
    published: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    told: list[str] = field(default_factory=list)

    def tell(self, lines: Iterable[str]) -> None:
        self.told += islice(lines, max(0, _MAX_TOLD - len(self.told)))


@click.command(help="Send events of JSON Lines to their topics; - is standard input.")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="At most so many a second."
)
@click.option("--dry-run", is_flag=True, help="Send nothing; say what would be sent.")
def publish(files: tuple[str, ...], rate: float | None, dry_run: bool) -> None:
    kafka = read_section(KafkaSettings)
    max_bytes = read_section(IngestSettings).max_record_bytes
    report = Report()
    try:
        with _progress(files) as on_progress:
            lines = chain.from_iterable(read_lines(file, max_bytes, on_progress) for file in files)
            parcels = _pack(judge(lines, max_bytes), kafka.topics, report)
            if dry_run:
                report.published.update(parcel.address.topic for parcel in parcels)
            else:
                with_kafka(kafka, lambda: send(kafka, parcels, report, rate))
    except (KeyboardInterrupt, click.ClickException):
        if report.published:
            click.echo("run it again: what is there already is not doubled", err=True)
        raise
    finally:
        _print(report, dry_run=dry_run)
    if report.summary.codes or report.refused:
        raise SystemExit(1)


def _print(report: Report, *, dry_run: bool) -> None:
    for line in report.told:
        click.echo(line, err=True)
    count = report.published.total()
    topics = ", ".join(f"{number} to {topic}" for topic, number in sorted(report.published.items()))
    verb = "would be published" if dry_run else "published"
    click.echo(f"{count} {verb}" + (f": {topics}" if topics else ""))
    not_sent = report.summary.outcomes["ignored"] + report.summary.outcomes["rejected"]
    if not_sent or report.refused or report.summary.warnings:
        refused = f", {report.refused} refused by their topics" if report.refused else ""
        click.echo(f"{tell_summary(report.summary)}{refused}", err=True)


@contextmanager
def _progress(files: tuple[str, ...]) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, where the size is known."""
    size = size_of(files) if sys.stderr.isatty() else None
    if size is None:
        yield lambda _: None
        return
    with click.progressbar(length=size, label="publish", file=sys.stderr) as bar:
        yield bar.update


def _pack(
    judgements: Iterable[Judgement], topics: Sequence[str], report: Report
) -> Iterator[Parcel]:
    """What is to be sent. The others, and whatever is odd, are told of in the report."""
    for judgement in judgements:
        report.summary.add(judgement)
        report.tell(tell(judgement))
        if judgement.outcome == "applied":
            yield Parcel(find_address(judgement.line.value, topics), judgement)


async def send(
    kafka: KafkaSettings, parcels: Iterator[Parcel], report: Report, rate: float | None
) -> None:
    """Send them in their order, at most `rate` a second. On return Kafka has acknowledged all but
    those that their topics refuse for good.

    Raises `StartError` where a topic is missing, and `KafkaError` where Kafka goes away.
    """
    topics = await find_topics(kafka)
    if missing := sorted(set(kafka.topics) - topics):
        raise StartError(f"ACTIVITY_KAFKA_TOPICS: there is no topic {', '.join(missing)}")
    together = (
        _MAX_TOGETHER if rate is None else max(1, min(_MAX_TOGETHER, int(rate / _STEPS_A_SECOND)))
    )
    began, count = time.monotonic(), 0
    async with new_producer(kafka) as producer:
        while batch := list(islice(parcels, together)):
            await _send_together(producer, batch, report)
            count += len(batch)
            if rate is not None:
                await asyncio.sleep(began + count / rate - time.monotonic())


async def _send_together(
    producer: AIOKafkaProducer, batch: Sequence[Parcel], report: Report
) -> None:
    faults = await _try(producer, batch)
    for parcel, fault in zip(batch, faults, strict=True):
        if fault is not None and not fault.retriable:
            # Records travel together: perhaps it was only another one that was refused.
            (fault,) = await _try(producer, [parcel])
        if fault is None:
            report.published[parcel.address.topic] += 1
        elif fault.retriable:
            raise fault
        else:
            line = parcel.judgement.line
            report.refused += 1
            report.tell([f"{line.file}:{line.number}: refused by its topic: {fault}"])


async def _try(producer: AIOKafkaProducer, batch: Sequence[Parcel]) -> list[KafkaError | None]:
    acknowledgements = [
        await producer.send(address.topic, judgement.line.value, key=address.key.encode())
        for address, judgement in batch
    ]
    return [await fault_of(one) for one in acknowledgements]
