"""The short form of the fault matrix (`make faults` is the long one)."""

import random

import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.mongodb import MongoServer
from tests.ingest.faults import FAULTS, SHORT, run_fault


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_doubled_or_stale_after(
    fault: str, breakable_mongo_server: MongoServer, breakable_kafka_server: KafkaServer
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")

    row = await run_fault(fault, breakable_mongo_server, breakable_kafka_server, SHORT, seed)

    print(row)
    assert (row.lost, row.doubled, row.stale) == (0, 0, 0)
