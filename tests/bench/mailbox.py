"""`python -m tests.bench.mailbox`: 50,000 emails in conversations of very uneven length.

What an email costs with its thread refreshed, by the length of the conversation: from a backlog in
batches, and alone, as a live email comes.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click
import uvloop
from pydantic import SecretStr

from deploy.local.folders import run_folder
from deploy.local.stack import choose_mongo, running
from service.activities.events import Change, parse_event
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import ensure_indexes
from service.store.mongo import Mongo, connect
from service.store.threads import refresh_threads
from service.store.writes import encode_change, write_changes
from tests.factories import activity, event, make_id, record

LENGTHS = (1, 10, 100, 1_000, 10_000)
EMAILS_OF_A_LENGTH = 10_000
BATCH_SIZE = 500
WRITES_IN_FLIGHT = 4
LIVE_EMAILS = 20
START = datetime(2026, 1, 1, tzinfo=UTC)


def conversation(rng: random.Random, name: str, length: int) -> Iterator[Change]:
    """The emails of one lead under one subject."""
    lead = f"lead_{name}"
    for number in range(length):
        at = (START + timedelta(minutes=rng.randrange(500_000))).isoformat()
        subject = f"{'Re: ' * min(number, 2)}Quote {name}"
        id_ = make_id("acti", rng)
        email = activity("Email", rng=rng, id=id_, lead_id=lead, subject=subject, date_created=at)
        change = parse_event(record(event(email, id=f"ev_{id_}", date_updated=at)))
        assert isinstance(change, Change)
        yield change


def conversations(rng: random.Random, length: int, emails: int) -> list[Change]:
    """As many emails in conversations of one length, in no order."""
    changes = [
        change
        for number in range(emails // length)
        for change in conversation(rng, f"{length}_{number}", length)
    ]
    rng.shuffle(changes)
    return changes


async def write_backlog(mongo: Mongo, changes: Sequence[Change]) -> tuple[float, int]:
    """Seconds, and threads refreshed."""
    batches = iter([changes[i : i + BATCH_SIZE] for i in range(0, len(changes), BATCH_SIZE)])
    refreshed = 0

    async def work() -> None:
        nonlocal refreshed
        for batch in batches:
            writes = [encode_change(change) for change in batch]
            count = await refresh_threads(mongo, writes, await write_changes(mongo, writes))
            refreshed += count

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WRITES_IN_FLIGHT)))
    return time.perf_counter() - began, refreshed


async def write_alone(mongo: Mongo, changes: Sequence[Change]) -> list[float]:
    """Seconds of each, one after the other."""
    seconds = []
    for change in changes:
        began = time.perf_counter()
        writes = [encode_change(change)]
        await refresh_threads(mongo, writes, await write_changes(mongo, writes))
        seconds.append(time.perf_counter() - began)
    return seconds


async def measure(mongo: Mongo, emails: int) -> None:
    rng = random.Random(1)
    by_length = {length: conversations(rng, length, emails) for length in LENGTHS}
    everything = [change for changes in by_length.values() for change in changes]
    print(
        f"{len(everything):,} emails, {sum(emails // n for n in LENGTHS)} conversations of",
        *LENGTHS,
    )
    print("\nlength   backlog: emails/s   us an email   refreshes     alone: ms median   slowest")
    for length, changes in by_length.items():
        seconds, refreshed = await write_backlog(mongo, changes)
        # Into the first conversation of this length; of length 1, the first of others.
        name = f"{length}_0" if length > 1 else "live"
        live = list(conversation(random.Random(length), name, min(LIVE_EMAILS, length)))
        alone = [1_000 * one for one in await write_alone(mongo, live)]
        print(
            f"{length:6,}   {len(changes) / seconds:17,.0f}   {1e6 * seconds / len(changes):11,.0f}"
            f"   {refreshed:9,}   {statistics.median(alone):18.1f}   {max(alone):7.1f}"
        )
    await mongo.activities.delete_many({})
    rng.shuffle(everything)
    seconds, refreshed = await write_backlog(mongo, everything)
    threads = await mongo.activities.count_documents({"_type": "EmailThread"})
    print(
        f"\nall mixed: {seconds:.1f} s, {len(everything) / seconds:,.0f} emails/s,"
        f" {refreshed:,} refreshes, {threads:,} threads"
    )
    some = everything[: BATCH_SIZE * 20]
    seconds, _ = await write_backlog(mongo, some)
    print(f"{len(some):,} of them delivered again: {len(some) / seconds:,.0f} emails/s")


async def _run(emails: int) -> None:
    with run_folder() as folder:
        server = choose_mongo(folder)
        async with running(server):
            settings = MongoSettings(url=SecretStr(server.url), database="bench_mailbox")
            async with connect(settings) as mongo:
                await ensure_indexes(mongo, RetentionSettings())
                await measure(mongo, emails)
                await mongo.client.drop_database(settings.database)


@click.command()
@click.option(
    "--emails",
    default=EMAILS_OF_A_LENGTH,
    show_default=True,
    type=click.IntRange(min=max(LENGTHS)),
    help="of each length",
)
def main(emails: int) -> None:
    """Measure and print the table."""
    uvloop.run(_run(emails))


if __name__ == "__main__":
    main()
