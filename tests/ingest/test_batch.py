"""What a batch holds, which positions it makes due, and when the line stops: no servers needed."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from consumers.batch import Batch, BatchLimits
from consumers.cluster import ClientComplaints
from consumers.dead_letters import to_headers
from consumers.fuse import Fuse, Judged
from consumers.membership import Membership
from consumers.positions import Positions
from consumers.records import MAX_ATTEMPT
from service.errors import Halted, Rejected
from service.store.writes import Outcome
from tests.factories import activity, event, record

PARTITION = TopicPartition("calls", 0)


def kafka_record(
    value: bytes | None, offset: int = 0, headers: Sequence[tuple[str, Any]] = ()
) -> ConsumerRecord:
    size = len(value or b"")
    return ConsumerRecord("calls", 0, offset, 0, 0, b"key", value, None, 3, size, tuple(headers))


def note(id_: str, minute: int, **fields: Any) -> bytes:
    at = f"2026-01-02T10:{minute:02}:00+00:00"
    return record(event(activity("Note", id=id_, **fields), id=f"ev_{minute}", date_updated=at))


def filled(*values: bytes | None, max_records: int = 100, max_bytes: int = 10**6) -> Batch:
    batch = Batch(BatchLimits(max_records, max_bytes, 10**6))
    batch.fill([kafka_record(value, offset) for offset, value in enumerate(values)], 0)
    return batch


def test_newest_revision_of_each_activity_is_written() -> None:
    batch = filled(note("acti_1", 2), note("acti_1", 3), note("acti_1", 1), note("acti_2", 1))

    assert [entry.change.event_id for entry in batch.newest()] == ["ev_3", "ev_1"]
    overtaken = [(entry.change.event_id, outcome) for entry, outcome in batch.overtaken()]
    assert overtaken == [("ev_1", Outcome.STALE), ("ev_2", Outcome.STALE)]


def test_repeated_revision_is_a_duplicate() -> None:
    batch = filled(note("acti_1", 1), note("acti_1", 2), note("acti_1", 2))

    assert [outcome for _, outcome in batch.overtaken()] == [Outcome.STALE, Outcome.DUPLICATE]


def test_refused_revision_gives_way_to_the_next_older() -> None:
    batch = filled(note("acti_1", 2), note("acti_1", 3), note("acti_1", 1))
    reason = Rejected("invalid_activity", "refused")

    second = batch.give_way(batch.newest()[0], reason)
    assert second is not None
    third = batch.give_way(second, reason)
    assert third is not None
    last = batch.give_way(third, reason)

    assert [second.change.event_id, third.change.event_id, last] == ["ev_2", "ev_1", None]
    assert [refusal.record.offset for refusal in batch.refusals] == [1, 0, 2]


def test_batch_is_full_by_count() -> None:
    batch = Batch(BatchLimits(2, 10**6, 10**6))
    records = [kafka_record(None, offset) for offset in range(5)]

    assert batch.fill(records, 0) == 2
    assert batch.is_full
    assert batch.fill(records, 2) == 2


def test_batch_is_full_by_bytes() -> None:
    batch = Batch(BatchLimits(100, 10, 10**6))

    assert batch.fill([kafka_record(b"{" * 6, offset) for offset in range(5)], 0) == 2


@pytest.mark.parametrize(("beyond", "codes"), [(0, []), (1, ["too_large"])])
def test_record_of_exactly_the_limit_is_taken(beyond: int, codes: list[str]) -> None:
    value = note("acti_1", 1)
    batch = Batch(BatchLimits(100, 10**6, len(value) - beyond))

    batch.fill([kafka_record(value)], 0)

    assert [refusal.rejected.code for refusal in batch.refusals] == codes


@given(st.permutations(range(6)), st.integers(0, 6))
def test_position_is_due_only_without_a_gap(order: list[int], finished: int) -> None:
    positions = Positions()
    spans = [positions.open(PARTITION, 10 * place, 10 * place + 9, 0) for place in range(6)]

    for place in order[:finished]:
        spans[place].is_durable = True

    done = set(order[:finished])
    in_front = next((place for place in range(6) if place not in done), 6)
    assert positions.due() == ({PARTITION: 10 * in_front} if in_front else {})


def test_committed_position_is_not_due_again() -> None:
    positions = Positions()
    positions.open(PARTITION, 0, 4, 0).is_durable = True

    positions.committed(positions.due())

    assert positions.due() == {}
    assert positions.durable() == {PARTITION: 5}


def test_markers_are_skipped_only_when_nothing_is_in_flight() -> None:
    positions = Positions()
    span = positions.open(PARTITION, 0, 4, 0)

    positions.skip(PARTITION, 6)
    assert (positions.due(), positions.reached(PARTITION)) == ({}, 0)
    span.is_durable = True
    positions.skip(PARTITION, 6)

    assert positions.due() == {PARTITION: 6}


def test_skipped_markers_never_move_a_position_back() -> None:
    positions = Positions()
    positions.open(PARTITION, 0, 4, 0).is_durable = True

    positions.skip(PARTITION, 3)

    assert positions.due() == {PARTITION: 5}


def judge(fuse: Fuse, are_dead_letters: list[bool]) -> None:
    """As of a batch whose dead letters are published at once."""
    with fuse.judged(of_nobody(are_dead_letters)):
        pass


def of_nobody(are_dead_letters: list[bool]) -> list[Judged]:
    return [Judged(one) for one in are_dead_letters]


def of(organization_id: str, count: int, *, dead: bool) -> list[Judged]:
    return [Judged(dead, organization_id)] * count


def test_fuse_blows_above_its_ratio_only() -> None:
    fuse = Fuse(0.5)

    judge(fuse, [False, True] * 2000)

    with pytest.raises(Halted, match="501 of the last 1000 records"):
        judge(fuse, [True] * 1000)


def test_fuse_waits_for_a_hundred_dead_letters() -> None:
    fuse = Fuse(0.01)

    judge(fuse, [True] * 99 + [False] * 900)

    with pytest.raises(Halted):
        judge(fuse, [True])


def test_fuse_of_ratio_one_never_blows() -> None:
    judge(Fuse(1.0), [True] * 5000)


def test_fuse_counts_nothing_of_a_batch_that_comes_again() -> None:
    fuse = Fuse(0.5)
    judge(fuse, [True] * 49)

    for _ in range(3):
        with pytest.raises(KafkaError), fuse.judged(of_nobody([True] * 50)):
            raise KafkaError
    judge(fuse, [True] * 50)

    with pytest.raises(Halted, match="100 of the last 100 records"):
        judge(fuse, [True])


def test_fuse_keeps_what_a_batch_that_comes_again_stood_before() -> None:
    fuse = Fuse(0.5)
    judge(fuse, [False] * 900 + [True] * 100)

    with pytest.raises(KafkaError), fuse.judged(of_nobody([False] * 899 + [True])):
        raise KafkaError
    judge(fuse, [True] + [False] * 899)

    with pytest.raises(Halted, match="501 of the last 1000 records"):
        judge(fuse, [True] * 600)


def test_fuse_counts_batches_that_are_still_being_written() -> None:
    fuse = Fuse(0.5)

    with (
        fuse.judged(of_nobody([True] * 99)),
        pytest.raises(Halted, match="100 of the last 100 records"),
    ):
        judge(fuse, [True])


def held(organization_id: str) -> float | None:
    return REGISTRY.get_sample_value("activity_fuse_held", {"organization": organization_id})


def test_dead_letters_of_one_tenant_among_several_stop_nobody() -> None:
    fuse = Fuse(0.5)

    with fuse.judged(of("orga_well", 50, dead=False) + of("orga_ill", 900, dead=True)):
        assert held("orga_ill") == 1
    with fuse.judged(of("orga_well", 900, dead=False)):
        assert held("orga_ill") is None


@pytest.mark.parametrize(
    "records",
    [
        of("orga_1", 400, dead=True),
        of("orga_1", 100, dead=False) + of("orga_1", 400, dead=True),
        of("orga_1", 200, dead=True) + of("orga_2", 200, dead=True),
        of("orga_2", 50, dead=False) + of("orga_1", 200, dead=True) + of_nobody([True] * 200),
        of_nobody([False] * 50) + of("orga_1", 200, dead=True),
    ],
    ids=["alone", "alone, some good", "of two", "some of nobody known", "beside nobody known"],
)
def test_dead_letters_of_more_than_one_tenant_stop_the_line(records: list[Judged]) -> None:
    with pytest.raises(Halted), Fuse(0.5).judged(records):
        pass


def test_ignored_unknown_and_replayed_records_count_nowhere() -> None:
    unknown = record({"object_type": "activity.fax", "id": "ev_1"})
    batch = filled(None, unknown, b"{", note("acti_1", 1))
    batch.fill([kafka_record(b"{", 9, [("activity.attempt", b"2")])], 0)

    assert batch.judged() == [Judged(True), Judged(False, "orga_1")]


@pytest.mark.parametrize(
    ("carried", "attempt"),
    [
        ([], 1),
        ([b"1"], 2),
        ([b"7", b"9"], 10),
        ([b"%d" % MAX_ATTEMPT], MAX_ATTEMPT + 1),
        ([b"1001"], 1),
        ([b"0"], 1),
        ([b"-1"], 1),
        ([b"1.0"], 1),
        ([b"\xd9\xa1"], 1),
        ([b" 1"], 1),
        ([b""], 1),
        ([None], 1),
    ],
)
def test_attempt_is_one_more_than_a_whole_number(carried: list[Any], attempt: int) -> None:
    (refusal,) = filled(b"{").refusals
    headers = [("activity.attempt", value) for value in carried]
    again = type(refusal)(0, kafka_record(b"{", 0, headers), refusal.rejected)

    attempts = [value for name, value in to_headers(again) if name == "activity.attempt"]

    assert attempts == [str(attempt).encode()]


def complaint(text: str, logger: str = "aiokafka.client") -> logging.LogRecord:
    return logging.LogRecord(logger, logging.ERROR, "", 0, text, ("node 1",), None)


def test_client_complains_seldom_and_never_of_the_harmless() -> None:
    complaints = ClientComplaints(interval_seconds=60)

    passed = [
        complaints.filter(complaint(text, logger))
        for text, logger in [
            ("Unable connect to %s", "aiokafka.client"),
            ("Unable connect to %s", "aiokafka.client"),
            ("Group Coordinator Request failed: %s", "aiokafka.consumer.group_coordinator"),
            ("ours", "consumers.runner"),
            ("ours", "consumers.runner"),
        ]
    ]

    assert passed == [True, False, False, True, True]


def test_member_thrown_out_by_habit_halts() -> None:
    now = iter([0.0, 10.0, 20.0, 30.0])
    membership = Membership("pod-1", clock=lambda: next(now))

    for _ in range(3):
        membership.lose()

    with pytest.raises(Halted, match="ACTIVITY_KAFKA_GROUP_INSTANCE_ID=pod-1"):
        membership.lose()


def test_member_thrown_out_now_and_then_goes_on() -> None:
    now = iter(range(0, 400, 40))
    membership = Membership("pod-1", clock=lambda: next(now))

    for _ in range(10):
        membership.lose()
