"""Death at every step between fetch and commit, then redelivery (contract 1.5.2)."""

import asyncio
import random
import signal

import pytest

from service.settings import MongoSettings
from tests.factories import BAD_RECORDS, realistic_events, record
from tests.ingest.crashing import STEPS
from tests.ingest.group import Group, environment, spawn

EVENTS = 150
# Static membership: the next process takes the place of the dead one at once.
SETTINGS = {
    "ACTIVITY_KAFKA_GROUP_INSTANCE_ID": "pod-0",
    "ACTIVITY_BATCH_MAX_RECORDS": "20",
    "ACTIVITY_FEED_HOURS": "24",
}

# The faster the rest, the fewer of these there are.
COMES_ONCE_FOR_CERTAIN = {"publish dead letters", "commit"}


@pytest.mark.parametrize("step", STEPS)
async def test_death_before_a_step_loses_and_doubles_nothing(
    group: Group, mongo_settings: MongoSettings, step: str
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = [record(one) for one in realistic_events(seed, EVENTS, leads=5, share_of_updates=0.4)]
    log += rng.sample(log, 10) + BAD_RECORDS["invalid_json"]
    rng.shuffle(log)
    await group.publish(log)
    url = mongo_settings.url.get_secret_value()
    settings = environment(group, url, mongo_settings.database, **SETTINGS)

    time = "1" if step in COMES_ONCE_FOR_CERTAIN else str(rng.randrange(1, 4))
    process = await spawn(settings, step, time, module="tests.ingest.crashing")
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    async with group.member(group.kafka(group_instance_id="pod-0")):
        await group.until_worked_off()

    assert process.returncode == -signal.SIGKILL, errors.decode()
    await group.check()
