"""`python -m tests.bench.backlog [RECORDS]`: the memory of a consumer that works off a backlog."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from deploy.local.stack import running_stack
from tests.bench.corpus import new_events
from tests.bench.ingest import Bench, consumer, create_topic, database, publish, records_done

RECORDS = 500_000
PUBLISHED_TOGETHER = 10_000
LOOK_SECONDS = 1.0


async def measure(records: int) -> None:
    """Print the speed and the most memory that the process ever held."""
    async with running_stack() as stack:
        bench = Bench(stack.mongo.url, stack.kafka.bootstrap_servers, Path(tempfile.mkdtemp()))
        topic = await create_topic(bench)
        for seed in range(records // PUBLISHED_TOGETHER):
            await publish(bench, new_events(seed, PUBLISHED_TOGETHER), topic=topic)
        began = time.monotonic()
        async with (
            database(bench) as (name, _),
            consumer(bench, name, topic) as process,
            aiohttp.ClientSession() as session,
        ):
            while (done := await records_done(session, process)) < records:
                print(f"{done:>9,} records {process.memory_megabytes():6.0f} MB", flush=True)
                await asyncio.sleep(LOOK_SECONDS)
            speed = records / (time.monotonic() - began)
            print(
                f"{records:,} records, {speed:,.0f}/s, {process.memory_megabytes():.0f} MB at most"
            )


if __name__ == "__main__":
    uvloop.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS))
