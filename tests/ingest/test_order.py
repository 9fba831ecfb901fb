"""Any order, any repetition, over any number of consumers: the same store (contract 1.5.1)."""

import os
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import arrivals, event_logs, mailboxes
from tests.ingest.group import Group
from tests.model import Model

EXAMPLES = int(os.environ.get("ACTIVITY_TEST_ORDER_EXAMPLES", "12"))

Key = Callable[[int], bytes | None]
KEYS: dict[str, Key] = {
    "one key": lambda _: b"lead",
    "few keys": lambda number: b"%d" % (number % 3),
    "no key": lambda number: b"%d" % number,  # any partition; a null value needs some key
}
logs = st.one_of(event_logs(max_size=40), mailboxes(max_size=40)).flatmap(arrivals)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    log=logs,
    key=st.sampled_from(sorted(KEYS)),
    members=st.integers(1, 3),
    batch_max_records=st.sampled_from([1, 3, 500]),
)
@pytest.mark.timeout(900 if EXAMPLES > 100 else 120)
async def test_arrival_never_changes_the_store(
    group: Group, log: list[bytes | None], key: str, members: int, batch_max_records: int
) -> None:
    await group.mongo.activities.delete_many({})
    group.model = Model()
    async with AsyncExitStack() as running:
        for _ in range(members):
            member = group.member(batch_max_records=batch_max_records, dead_letter_max_ratio=1)
            await running.enter_async_context(member)
        await group.publish(log, key=KEYS[key])
        await group.until_worked_off()

    assert await group.stored() == group.expected()
