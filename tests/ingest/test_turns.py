"""Partitions with a backlog are read one after the other, the others always."""

import asyncio
from itertools import groupby

import pytest
from aiokafka import TopicPartition

from consumers import runner
from consumers.batch import Batch
from consumers.health import Health
from consumers.turns import IDLE_SECONDS, RUN_BYTES, Turns
from deploy.local.stack import Kafka
from service.settings import IngestSettings
from service.store.mongo import Mongo
from tests.conftest import new_topics
from tests.factories import activity, event, record
from tests.ingest.group import Group, attentive

PARTITIONS = [TopicPartition("t", number) for number in range(3)]
FIRST, SECOND, THIRD = PARTITIONS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Turns:
    """Of three partitions that are all behind."""
    turns = Turns(clock=clock)
    for partition in PARTITIONS:
        turns.note(partition, 1, is_behind=True)
    return turns


def test_of_those_behind_all_but_one_wait(turns: Turns) -> None:
    assert turns.waiting() == {SECOND, THIRD}


def test_who_is_not_behind_waits_for_nobody(turns: Turns) -> None:
    live = TopicPartition("live", 0)

    turns.note(live, RUN_BYTES, is_behind=False)

    assert turns.waiting() == {SECOND, THIRD}


def test_a_turn_is_a_run(turns: Turns) -> None:
    turns.note(FIRST, RUN_BYTES - 2, is_behind=True)
    before = turns.waiting()
    turns.note(FIRST, 1, is_behind=True)

    assert before == {SECOND, THIRD}
    assert turns.waiting() == {FIRST, THIRD}


def test_everybody_has_a_turn_again_and_again(turns: Turns) -> None:
    reading = []
    for _ in range(6):
        (one,) = set(PARTITIONS) - turns.waiting()
        reading.append(one)
        turns.note(one, RUN_BYTES, is_behind=True)

    assert reading == PARTITIONS * 2


def test_what_comes_of_others_is_not_part_of_the_run(turns: Turns) -> None:
    turns.note(SECOND, RUN_BYTES, is_behind=True)

    assert turns.waiting() == {SECOND, THIRD}


def test_who_is_worked_off_has_no_turn(turns: Turns) -> None:
    turns.note(FIRST, RUN_BYTES, is_behind=False)
    after_first = turns.waiting()
    turns.note(THIRD, 1, is_behind=False)

    assert after_first == {THIRD}
    assert turns.waiting() == set()


def test_a_new_turn_is_a_whole_one(turns: Turns) -> None:
    turns.note(FIRST, RUN_BYTES - 1, is_behind=False)
    turns.note(SECOND, RUN_BYTES - 1, is_behind=True)

    assert turns.waiting() == {THIRD}


def test_when_nothing_comes_nobody_waits_but_who_still_gives_much(
    turns: Turns, clock: Clock
) -> None:
    clock.now += IDLE_SECONDS - 0.01
    before = turns.waiting()
    clock.now += 0.01
    after = turns.waiting()
    turns.note(SECOND, 1, is_behind=True)
    turns.note(THIRD, 1, is_behind=True)

    assert before == {SECOND, THIRD}
    assert after == set()
    assert turns.waiting() == {THIRD}


def test_a_turn_lasts_while_something_comes(turns: Turns, clock: Clock) -> None:
    for _ in range(3):
        clock.now += IDLE_SECONDS - 0.01
        turns.note(FIRST, 1, is_behind=True)

    assert turns.waiting() == {SECOND, THIRD}


def test_without_a_backlog_nobody_waits(clock: Clock) -> None:
    turns = Turns(clock=clock)
    turns.note(FIRST, RUN_BYTES, is_behind=False)
    clock.now += IDLE_SECONDS

    assert turns.waiting() == set()


async def test_a_backlog_is_read_in_long_runs(
    kafka_server: Kafka, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve megabytes in each of three partitions, and a live event in a fourth."""
    monkeypatch.setattr(runner, "MAX_FETCHED_RECORDS", 50)
    topics = await new_topics(kafka_server.bootstrap_servers, topics=1, partitions=4)
    group = Group(topics, mongo)
    (topic,) = topics.names
    note, stop = "x" * 20_000, asyncio.Event()
    written: list[int] = []

    async def write(batch: Batch) -> None:
        if not written:
            await producer.send_and_wait(topic, b"{}", partition=3)
        written.extend(entry.record.partition for entry in batch.newest())
        written.extend(refusal.record.partition for refusal in batch.refusals)

    ingest = IngestSettings(max_writes_in_flight=1, commit_interval_seconds=0.05)
    member = runner.Runner(group.kafka(), ingest, write, Health(), attentive(Health()))
    async with group.producer(max_batch_size=100_000) as producer:
        sent = [
            await producer.send(
                topic,
                record(event(activity(id=f"acti_{number}", note=note))),
                partition=number % 3,
            )
            for number in range(1800)
        ]
        await asyncio.gather(*sent)
        work = asyncio.create_task(member.run(stop))
        await group.until_worked_off()
        stop.set()
        await work

    runs = [len(list(same)) for one, same in groupby(one for one in written if one != 3)]
    assert sum(runs) == len(sent)
    # A fetch gives 92 of a partition, and a run is four fetches.
    assert sum(run for run in runs if run > 2 * 92) > len(sent) / 2
    assert written.index(3) < len(sent) / 2
