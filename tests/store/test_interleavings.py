"""The protocol of design 5 against every order of two writers' steps, crashes and zombies.

A checker is worth what it catches: faults that are easily made are planted at the end, and must be
found by the same plays.
"""

import asyncio
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from service.store import threads, writes
from service.store.bulks import write_unordered
from service.store.ids import ThreadKey
from service.store.indexes import PRIMARY
from service.store.members import Members
from service.store.mongo import Mongo
from service.store.threads import Marks, Refreshed, Versions, refresh_threads
from service.store.writes import EncodedChange, write_changes
from tests.conftest import Driver
from tests.factories import record
from tests.store.conversations import (
    ORGANIZATION,
    deleting,
    encoded,
    marked,
    modelled_threads,
    setting,
    stored_threads_of,
    to_change,
)
from tests.store.schedules import (
    STEPS,
    Part,
    Schedule,
    every_interleaving,
    gated,
    gates,
    one_interruption,
    play,
)

__all__ = ["gates"]  # a fixture

Event = dict[str, Any]
PLAYS_AT_ONCE = 8


@pytest.fixture
def mongo_driver() -> Driver:
    """The order of steps is the same on either driver: here the faster one will do."""
    return "pymongo"


@dataclass(frozen=True)
class Scenario:
    """What is there before, and one batch a writer."""

    name: str
    before: tuple[Event, ...]
    batches: tuple[tuple[Event, ...], ...]

    def __str__(self) -> str:
        return self.name

    def expected(self) -> dict[str, Any]:
        events = [*self.before, *(event for batch in self.batches for event in batch)]
        return without_organization(modelled_threads(map(record, events)).get(ORGANIZATION, {}))


def in_thread(thread: str, revision: int, id_: str = "acti_1") -> Event:
    return setting(id_, revision, thread_id=f"acti_{thread}", created_by=f"user_{revision}")


ONE = in_thread("a", 1)
NOTE = setting("acti_1", 3, type_name="Note")
OVERLAY = setting("acti_a", 1, type_name="EmailThread", summary={"status": "pending"})
PAIRS = (
    Scenario("two emails of a new thread", (), ((ONE,), (in_thread("a", 1, "acti_2"),))),
    Scenario("an email and its delete", (), ((ONE,), (deleting("acti_1", 2),))),
    Scenario("two moves", (ONE,), ((in_thread("b", 2),), (in_thread("c", 3),))),
    Scenario("a move and a delete", (ONE,), ((in_thread("b", 2),), (deleting("acti_1", 3),))),
)
MORE_PAIRS = (
    Scenario("two emails of an old thread", (ONE,), tuple((in_thread("a", 2, f"acti_{n}"),) for n in (2, 3))),
    Scenario("an email and its move", (), ((ONE,), (in_thread("b", 2),))),
    Scenario("a move and back", (ONE,), ((in_thread("b", 2),), (in_thread("a", 3),))),
    Scenario("a delete and a revival", (ONE,), ((deleting("acti_1", 2),), (in_thread("b", 3),))),
    Scenario("a move and another type", (ONE,), ((in_thread("b", 2),), (NOTE,))),
    Scenario("one batch twice", (ONE,), ((in_thread("b", 2),), (in_thread("b", 2),))),
    Scenario("an email and an overlay", (), ((ONE,), (OVERLAY,))),
    Scenario("two that swap threads", (ONE, in_thread("b", 1, "acti_2")), ((in_thread("b", 2),), (in_thread("a", 2, "acti_2"),))),
)  # fmt: skip
MOVES = Scenario(
    "moves there, back and on",
    (ONE,),
    ((in_thread("b", 2),), (in_thread("a", 3),), (in_thread("c", 4),)),
)
CRASHED_AND_MORE = Scenario(
    "a crashed batch comes again in a larger one", (), ((ONE,), (ONE, in_thread("a", 1, "acti_2")))
)
CRASHED_AND_SPLIT = Scenario(
    "a crashed batch comes again in two",
    (),
    ((ONE, in_thread("a", 1, "acti_2")), (ONE,), (in_thread("a", 1, "acti_2"),)),
)
# Every schedule of everything, or of the long lists a part.
IS_LONG = os.environ.get("LONG_TESTS") == "1"
BY_NAME = {scenario.name: scenario for scenario in PAIRS}
_numbers = count()


def thinned(schedules: Iterable[Schedule], step: int) -> Iterable[Schedule]:
    return islice(schedules, 0, None, 1 if IS_LONG else step)


def without_organization(threads_: dict[str, Any]) -> dict[str, Any]:
    return {
        id_: {key: value for key, value in thread.items() if key != "organization_id"}
        for id_, thread in threads_.items()
    }


async def wrong_plays(
    mongo: Mongo, scenario: Scenario, parts: Sequence[Part], schedules: Iterable[Schedule]
) -> list[Schedule]:
    """The schedules after which a thread is not the model's, or a mark is left behind.

    Every play has an organization of its own, so that many can be on at once.
    """
    plays = {f"orga_{next(_numbers)}": schedule for schedule in schedules}
    for event in scenario.before:
        changes = encoded(to_change(event, organization) for organization in plays)
        await refresh_threads(mongo, changes, await write_changes(mongo, changes))
    places = asyncio.Semaphore(PLAYS_AT_ONCE)

    async def play_one(organization: str, schedule: Schedule) -> None:
        async with places:
            batches = [
                encoded(to_change(one, organization) for one in batch) for batch in scenario.batches
            ]
            await play(mongo, batches, parts, schedule)

    await asyncio.gather(*(play_one(*one) for one in plays.items()))
    expected = scenario.expected()
    with_marks = await marked(mongo, plays)
    stored = await stored_threads_of(mongo, plays)
    return [
        schedule
        for organization, schedule in plays.items()
        if without_organization(stored[organization]) != expected or organization in with_marks
    ]


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize("scenario", PAIRS, ids=str)
async def test_two_writers_in_every_order_leave_threads_right(
    mongo: Mongo, scenario: Scenario
) -> None:
    parts = [Part(0), Part(1)]

    assert await wrong_plays(mongo, scenario, parts, every_interleaving()) == []


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize("scenario", MORE_PAIRS, ids=str)
async def test_two_writers_in_many_orders_leave_threads_right(
    mongo: Mongo, scenario: Scenario
) -> None:
    parts = [Part(0), Part(1)]

    assert await wrong_plays(mongo, scenario, parts, thinned(every_interleaving(), 5)) == []


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize("crashes_after", range(1, len(STEPS)))
@pytest.mark.parametrize("name", ["two moves", "a move and a delete"])
async def test_a_crash_after_any_step_is_healed_by_redelivery(
    mongo: Mongo, name: str, crashes_after: int
) -> None:
    scenario = BY_NAME[name]
    for crashing, other in ((0, 1), (1, 0)):
        parts = [Part(crashing, crashes_after), Part(crashing), Part(other)]

        assert await wrong_plays(mongo, scenario, parts, thinned(one_interruption(parts), 3)) == []


@pytest.mark.usefixtures("gates")
async def test_a_zombie_does_no_harm(mongo: Mongo) -> None:
    parts = [Part(0), Part(0), Part(1)]
    for name in ("two moves", "a move and a delete", "an email and its delete"):
        schedules = thinned(one_interruption(parts), 3)

        assert await wrong_plays(mongo, BY_NAME[name], parts, schedules) == []


@pytest.mark.usefixtures("gates")
async def test_three_moves_with_a_crash_and_a_zombie_leave_threads_right(mongo: Mongo) -> None:
    parts = [Part(0), Part(1), Part(2, crashes_after=1), Part(2)]

    schedules = thinned(one_interruption(parts), 2)

    assert await wrong_plays(mongo, MOVES, parts, schedules) == []


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize("crashes_after", range(1, len(STEPS)))
async def test_a_crashed_batch_that_comes_again_in_a_larger_one_is_healed(
    mongo: Mongo, crashes_after: int
) -> None:
    parts = [Part(0, crashes_after), Part(1)]

    assert (
        await wrong_plays(mongo, CRASHED_AND_MORE, parts, [[(0, crashes_after), (1, len(STEPS))]])
        == []
    )


@pytest.mark.usefixtures("gates")
@pytest.mark.parametrize("crashes_after", range(1, len(STEPS)))
async def test_a_crashed_batch_that_comes_again_in_two_is_healed(
    mongo: Mongo, crashes_after: int
) -> None:
    parts = [Part(0, crashes_after), Part(1), Part(2)]
    schedules = [
        [(0, crashes_after), (1, steps), (2, len(STEPS)), (1, len(STEPS) - steps)]
        for steps in range(len(STEPS))
    ]

    assert await wrong_plays(mongo, CRASHED_AND_SPLIT, parts, schedules) == []


# ------------------------------------------------------------------------- faults, planted


async def refresh_members_first(mongo: Mongo, keys: Collection[ThreadKey], _: Any) -> Refreshed:
    refreshed = Refreshed({}, {})
    while keys:
        members = await threads.read_members(mongo, keys)
        versions = await threads.read_versions(mongo, keys)
        written, faults = await threads.write_threads(mongo, versions, members)
        refreshed.written.update(written)
        keys = list(faults)
    return refreshed


async def write_no_new_empty_threads(
    mongo: Mongo, versions: Versions, members: Members
) -> Refreshed:
    known = {key: one for key, one in members.items() if key in versions or one}
    return await threads_write_threads(mongo, versions, known)


async def clear_marks_blindly(mongo: Mongo, marks: Marks, _: Any) -> threads.MarkFaults:
    operations = [
        UpdateOne(
            {"_id": mark.key, "organization_id": mark.organization_id},
            {"$pullAll": {"_meta.left_threads": mark.left_threads}},
            hint=PRIMARY,
        )
        for mark in marks.marks
    ]
    return {
        str(place): fault for place, fault in (await write_unordered(mongo, operations)).items()
    }


def forget_marks_on_delete(change: EncodedChange) -> Any:
    if not change.is_delete:
        return writes_second_try(change)
    meta = {"revision": {"$literal": change.revision}, "deleted_at": "$$NOW"}
    document = {"$literal": RawBSONDocument(change.document)}
    merged = {"$mergeObjects": [document, {"_meta": meta}]}
    return UpdateOne(change.guard(), [{"$replaceWith": merged}], upsert=True, hint=PRIMARY)


threads_write_threads = threads.write_threads
writes_second_try = writes._second_try


async def is_caught(
    mongo: Mongo, scenario: Scenario, parts: Sequence[Part], schedules: Iterable[Schedule]
) -> bool:
    remaining = iter(schedules)
    while some := list(islice(remaining, 25)):
        if await wrong_plays(mongo, scenario, parts, some):
            return True
    return False


@pytest.mark.usefixtures("gates")
async def test_members_read_before_the_version_are_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_refresh", refresh_members_first)
    scenario = BY_NAME["two emails of a new thread"]

    assert await is_caught(mongo, scenario, [Part(0), Part(1)], every_interleaving())


@pytest.mark.usefixtures("gates")
async def test_a_missing_empty_document_is_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "write_threads", gated(write_no_new_empty_threads))
    scenario = BY_NAME["an email and its delete"]

    assert await is_caught(mongo, scenario, [Part(0), Part(1)], every_interleaving())


@pytest.mark.usefixtures("gates")
async def test_marks_cleared_without_looking_at_the_revision_are_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "clear_marks", gated(clear_marks_blindly))
    parts = [Part(0), Part(1), Part(2, crashes_after=1), Part(2)]

    assert await is_caught(mongo, MOVES, parts, one_interruption(parts))


@pytest.mark.usefixtures("gates")
async def test_marks_not_carried_onto_a_delete_marker_are_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "_second_try", forget_marks_on_delete)
    parts = [Part(0, crashes_after=1), Part(0), Part(1)]
    scenario = BY_NAME["a move and a delete"]

    assert await is_caught(mongo, scenario, parts, one_interruption(parts))
