"""The feed against every order of two writers' steps, crashes and zombies (design 9).

After each step somebody begins to follow every lead, and whoever follows is told what the feed says:
in the end each must hold what the leads hold. Faults that are easily made are planted at the end.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from service.store import threads, writes
from service.store.feed import ChangedRows, write_feed
from service.store.indexes import PRIMARY
from service.store.mongo import Mongo
from service.store.threads import Refreshed, refresh_threads
from service.store.writes import EncodedChange, Written, write_changes
from tests.conftest import Driver
from tests.store import schedules
from tests.store.conversations import deleting, encoded, setting, to_change
from tests.store.schedules import (
    Part,
    Schedule,
    every_interleaving,
    feed_gates,
    gates,
    one_interruption,
    play,
    wait_for_turn,
)
from tests.store.test_interleavings import IS_LONG, PLAYS_AT_ONCE, Scenario

__all__ = ["feed_gates", "gates"]  # fixtures

Event = dict[str, Any]
Rows = dict[str, dict[str, Any]]
"""By lead and stored id, what a listing would show."""

_numbers = count()


@pytest.fixture
def mongo_driver() -> Driver:
    """The order of steps is the same on either driver: here the faster one will do."""
    return "pymongo"


def note(revision: int, lead: str | None, id_: str = "acti_1") -> Event:
    return setting(id_, revision, type_name="Note", lead_id=lead and f"lead_{lead}")


def email(revision: int, lead: str, thread: str = "t", id_: str = "acti_1") -> Event:
    return setting(
        id_,
        revision,
        lead_id=f"lead_{lead}",
        thread_id=f"acti_{thread}",
        created_by=f"user_{revision}",
    )


MOVES = Scenario("two moves", (note(1, "a"),), ((note(2, "b"),), (note(3, "c"),)))
MOVE_AND_DELETE = Scenario(
    "a move and a delete",
    (note(1, "a"),),
    ((note(2, "b"),), (deleting("acti_1", 3, type_name="Note"),)),
)
THREAD_MOVES = Scenario(
    "a thread moves with its emails",
    (email(1, "a"),),
    ((email(2, "b"),), (email(3, "c"), email(1, "a", id_="acti_2"))),
)
SCENARIOS = (
    MOVES,
    MOVE_AND_DELETE,
    THREAD_MOVES,
    Scenario("a delete and a revival elsewhere", (note(1, "a"),), ((deleting("acti_1", 2, type_name="Note"),), (note(3, "b"),))),
    Scenario("a move to no lead and on", (note(1, "a"),), ((note(2, None),), (note(3, "b"),))),
    Scenario("an email that moves and is none", (email(1, "a"),), ((email(2, "b"),), (note(3, "c"),))),
    Scenario("one batch twice", (email(1, "a"),), ((email(2, "b"),), (email(2, "b"),))),
    Scenario("new ones of one thread", (), ((email(1, "a"),), (email(1, "b", id_="acti_2"),))),
)  # fmt: skip


class Followers:
    """Those who begin to follow all leads of an organization, one after each step."""

    def __init__(self, mongo: Mongo, organization: str) -> None:
        self._mongo = mongo
        self._organization = organization
        self._told = 0
        self.copies: list[Rows] = []

    async def look(self) -> None:
        rows = await self._read_feed()
        stored = await self.stored()
        for copy in self.copies:
            for row in rows:
                id_, _, leads, is_first = row
                for lead in leads:
                    found = stored.get(lead, {}).get(id_)
                    if found is not None:
                        copy[lead][id_] = found
                    elif not is_first:
                        copy[lead].pop(id_, None)
        begun: Rows = defaultdict(dict)
        begun.update({lead: dict(of_lead) for lead, of_lead in stored.items()})
        self.copies.append(begun)

    async def stored(self) -> Rows:
        rows: Rows = defaultdict(dict)
        shown = {"organization_id": self._organization, "_type": {"$exists": True}}
        async for document in self._mongo.activities.find(shown, {"_meta": 0}):
            rows[document["lead_id"]][document["id"]] = document
        return rows

    async def wrong(self) -> list[Rows]:
        await self.look()
        expected = {lead: rows for lead, rows in (await self.stored()).items() if lead is not None}
        return [
            copy
            for copy in self.copies
            if {lead: rows for lead, rows in copy.items() if rows and lead is not None} != expected
        ]

    async def _read_feed(self) -> list[list[Any]]:
        find = {"organizations.organization_id": self._organization}
        documents = self._mongo.feed.find(find, sort=[("$natural", 1)])
        rows = [
            row
            async for document in documents
            for one in document["organizations"]
            if one["organization_id"] == self._organization
            for row in json.loads(one["rows"])
        ]
        told, self._told = self._told, len(rows)
        return rows[told:]


async def wrong_plays(
    mongo: Mongo, scenario: Scenario, parts: Sequence[Part], schedules_: Iterable[Schedule]
) -> list[Schedule]:
    """The schedules after which somebody holds what the leads do not hold, or a mark is left."""
    await mongo.feed.delete_many({})
    plays = {f"orga_{next(_numbers)}": schedule for schedule in schedules_}
    for event in scenario.before:
        changes = encoded(to_change(event, organization) for organization in plays)
        await refresh_threads(mongo, changes, await write_changes(mongo, changes))
    await mongo.feed.delete_many({})
    places = asyncio.Semaphore(PLAYS_AT_ONCE)
    wrong: list[Schedule] = []

    async def play_one(organization: str, schedule: Schedule) -> None:
        async with places:
            followers = Followers(mongo, organization)
            await followers.look()
            batches = [
                encoded(to_change(one, organization) for one in batch) for batch in scenario.batches
            ]
            await play(mongo, batches, parts, schedule, followers.look)
            marked = await mongo.activities.find_one(
                {"organization_id": organization, "_meta.left_leads": {"$exists": True}}
            )
            if marked or await followers.wrong():
                wrong.append(schedule)

    await asyncio.gather(*(play_one(*one) for one in plays.items()))
    return wrong


def some(schedules_: Iterable[Schedule], step: int) -> Iterable[Schedule]:
    return islice(schedules_, 0, None, 1 if IS_LONG else step)


@pytest.mark.usefixtures("feed_gates")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
async def test_two_writers_tell_all_that_followers_need(mongo: Mongo, scenario: Scenario) -> None:
    parts = [Part(0), Part(1)]

    assert await wrong_plays(mongo, scenario, parts, some(every_interleaving(), 47)) == []


@pytest.mark.usefixtures("feed_gates")
@pytest.mark.parametrize("scenario", [MOVES, MOVE_AND_DELETE, THREAD_MOVES], ids=str)
async def test_crashes_and_zombies_tell_all_that_followers_need(
    mongo: Mongo, scenario: Scenario
) -> None:
    for crashing, other in ((0, 1), (1, 0)):
        for crashes_after in (*range(1, len(schedules.STEPS)), None):
            parts = [Part(crashing, crashes_after), Part(crashing), Part(other)]
            plays = some(one_interruption(parts), 41)

            assert await wrong_plays(mongo, scenario, parts, plays) == []


# ------------------------------------------------------------------------- faults, planted


async def is_caught(
    mongo: Mongo, scenario: Scenario, parts: Sequence[Part], schedules_: Iterable[Schedule]
) -> bool:
    remaining = iter(schedules_)
    while part := list(islice(remaining, 25)):
        if await wrong_plays(mongo, scenario, parts, part):
            return True
    return False


async def tell_before_threads(
    mongo: Mongo, changes: Sequence[EncodedChange], written: Sequence[Written] = ()
) -> int:
    marks = await threads.read_marks(mongo, changes, written)
    leads = tuple({change.lead_id for change in changes if change.lead_id})
    rows = threads.to_changed_rows(changes, written, marks, Refreshed({}, {}))
    for one in marks.threads:
        rows[one.organization_id].append((one.stored_id, "EmailThread", leads, False))
    await write_feed(mongo, rows)
    refreshed = await threads._refresh_all(mongo, list(marks.threads), {})
    await threads.clear_marks(mongo, marks, refreshed)
    return 0


@pytest.mark.usefixtures("feed_gates")
async def test_a_feed_written_before_the_threads_is_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "refresh_threads", tell_before_threads)
    scenario = Scenario("another email", (email(1, "a"),), ((email(1, "a", id_="acti_2"),), ()))

    assert await is_caught(mongo, scenario, [Part(0), Part(1)], every_interleaving())


def carry_no_leads(change: EncodedChange) -> Any:
    meta = {"revision": {"$literal": change.revision}}
    document = {"$literal": RawBSONDocument(change.document)}
    merged = {"$mergeObjects": [document, {"_meta": meta}]}
    return UpdateOne(change.guard(), [{"$replaceWith": merged}], upsert=True, hint=PRIMARY)


writes_second_try = writes._second_try
threads_to_changed_rows = threads.to_changed_rows


@pytest.mark.usefixtures("feed_gates")
async def test_an_old_lead_read_before_the_write_is_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, list[str]] = {}

    async def read_and_write(mongo: Mongo, changes: Sequence[EncodedChange]) -> list[Written]:
        stored = [await mongo.activities.find_one({"_id": change.key}) for change in changes]
        read[id(changes)] = [one["lead_id"] for one in stored if one and one.get("lead_id")]
        await wait_for_turn()
        return await write_changes(mongo, changes)

    def with_what_was_read(changes: Sequence[EncodedChange], *more: Any) -> ChangedRows:
        rows = threads_to_changed_rows(changes, *more)
        before = read.get(id(changes), ())
        return {
            organization: [
                (id_, type_, (*leads, *before), first) for id_, type_, leads, first in own
            ]
            for organization, own in rows.items()
        }

    monkeypatch.setattr(writes, "_second_try", carry_no_leads)
    monkeypatch.setattr(schedules, "write_changes", read_and_write)
    monkeypatch.setattr(threads, "to_changed_rows", with_what_was_read)
    monkeypatch.setattr(schedules, "STEPS", ("read_leads", *schedules.STEPS))

    rest = len(schedules.STEPS) - 1
    both_read_first = [(0, 1), (1, 1), (0, rest), (1, rest)]
    assert await is_caught(mongo, MOVES, [Part(0), Part(1)], [both_read_first])


@pytest.mark.usefixtures("feed_gates")
async def test_leads_not_carried_onto_a_delete_marker_are_caught(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget_on_delete(change: EncodedChange) -> Any:
        return carry_no_leads(change) if change.is_delete else writes_second_try(change)

    monkeypatch.setattr(writes, "_second_try", forget_on_delete)

    assert await is_caught(mongo, MOVE_AND_DELETE, [Part(0), Part(1)], every_interleaving())
