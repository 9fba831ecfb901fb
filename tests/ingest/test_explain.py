"""`explain` says what became of an event or an activity (contract 4)."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from consumers.explain import tell, to_json, verdict
from consumers.explanation import Explanation, Limits, explain
from service.settings import MongoSettings
from tests.factories import NOON, event, record
from tests.ingest.group import Group, environment, spawn

ORGANIZATION = "orga_1"
LIMITS = Limits(timedelta(hours=1), 4096)
# 200 fates take a minute and a half.
ROUNDS = 14 if os.environ.get("LONG_TESTS") else 1
EARLIER = "2026-01-01T00:00:00+00:00"


class Planted(NamedTuple):
    """What is published for a number, and the words that the first line must then say of its event."""

    records: Callable[[int], list[bytes]]
    words: str


def note(number: int, **fields: Any) -> bytes:
    """An event `ev_{number}` of the activity `acti_{number}`."""
    data = {"date_created": NOON, "note": "a"} | fields.pop("data", {})
    return record(
        event({"_type": "Note", "id": f"acti_{number}"}, id=f"ev_{number}")
        | {"data": data}
        | fields
    )


def newer(number: int) -> bytes:
    return note(number, id=f"ev_{number}_newer", date_updated="2027-01-01", action="updated")


PLANTED: dict[str, Planted] = {
    "applied": Planted(lambda n: [note(n)], "applied: this is how it stands"),
    "stale": Planted(lambda n: [newer(n), note(n)], "overtaken (ev_{n}_newer counts"),
    "superseded": Planted(lambda n: [note(n), newer(n)], "overtaken (ev_{n}_newer counts"),
    "duplicate": Planted(lambda n: [note(n), note(n)], "applied: this is how it stands"),
    "deleted": Planted(
        lambda n: [
            note(n, id=f"ev_{n}_before", date_updated=EARLIER, date_created=EARLIER),
            note(n, action="deleted"),
        ],
        "applied: it is deleted",
    ),
    "ignored": Planted(lambda n: [note(n, object_type="lead")], "ignored: "),
    "invalid_json": Planted(lambda n: [note(n)[:-1]], "a dead letter"),
    "invalid_event": Planted(lambda n: [note(n, action=5)], "a dead letter (invalid_event"),
    "invalid_activity": Planted(
        lambda n: [note(n, data={"users": 5})], "a dead letter (invalid_activity, data.users: "
    ),
    "unknown_type": Planted(
        lambda n: [note(n, object_type="call")], "a dead letter (unknown_type, object_type: 'call'"
    ),
    "type_mismatch": Planted(
        lambda n: [note(n, data={"_type": "Call"})], "a dead letter (type_mismatch"
    ),
    "id_mismatch": Planted(lambda n: [note(n, data={"id": "b"})], "a dead letter (id_mismatch"),
    "organization_mismatch": Planted(
        lambda n: [note(n, data={"organization_id": "b"})], "a dead letter (organization_mismatch"
    ),
    "too_large": Planted(
        lambda n: [note(n, data={"note": "x" * 5000})], "a dead letter (too_large"
    ),
    "never seen": Planted(lambda _: [], "nothing is known"),
}


def to_key(number: int) -> Callable[[int], bytes]:
    """One key for all records of a number: they stay in their order within a topic."""
    return lambda _: b"%d" % number


async def asked(group: Group, id_: str, organization: str = ORGANIZATION) -> Explanation:
    return await explain(group.kafka(), group.mongo, organization, id_, LIMITS)


async def test_every_fate_is_told(group: Group) -> None:
    plan = list(enumerate(list(PLANTED.items()) * ROUNDS))
    for number, (_, planted) in plan:
        await group.publish(planted.records(number), key=to_key(number))
    async with group.member(max_record_bytes=4096, dead_letter_max_ratio=1.0):
        await group.until_worked_off()

    for number, (fate, planted) in plan:
        found = await asked(group, f"ev_{number}")
        assert planted.words.replace("{n}", str(number)) in verdict(found), (fate, verdict(found))
        assert not any(found.behind.values())


async def test_record_that_waits_is_told_of(group: Group) -> None:
    await group.publish([note(1)])

    found = await asked(group, "ev_1")

    assert verdict(found) == "event ev_1 of orga_1: not worked off yet"
    assert sum(found.behind.values()) == 1


async def test_activity_shows_how_it_stands_and_all_that_was_said(group: Group) -> None:
    moved = note(1, data={"lead_id": "lead_7"}, id="ev_2", date_updated="2027-01-01")
    await group.publish([note(1), moved, note(1)])
    async with group.member():
        await group.until_worked_off()

    found = await asked(group, "acti_1")

    assert verdict(found) == (
        "activity acti_1 of orga_1: Note on lead_7, as of 2027-01-01T00:00:00+00:00 by event ev_2"
    )
    assert sorted(told.fate for told in found.told) == ["applied", "duplicate", "stale"]


async def test_threads_are_told_with_their_emails(group: Group) -> None:
    data = {"_type": "Email", "id": "acti_1", "date_created": NOON, "thread_id": "acti_t"}
    summary = {"_type": "EmailThread", "id": "acti_t", "date_created": NOON, "summary": None}
    await group.publish([record(event(data)), record(event(summary, id="ev_2"))])
    async with group.member():
        await group.until_worked_off()

    email, thread = await asked(group, "acti_1"), await asked(group, "acti_t")

    assert "Email on no lead, in thread acti_t, as of" in verdict(email)
    assert [account.type_name for account in thread.accounts] == [None, "EmailThread"]
    assert any("EmailThread on no lead, 1 emails" in line for line in tell(thread))


async def test_nothing_of_another_organization_is_told(group: Group) -> None:
    await group.publish([note(1), note(1, action=5), note(1)[:-1]])
    async with group.member(dead_letter_max_ratio=1.0):
        await group.until_worked_off()

    found = await asked(group, "ev_1", "orga_2")

    assert verdict(found) == "ev_1 of orga_2: nothing is known"
    assert (found.accounts, found.told, found.letters) == ([], [], [])


async def test_dead_letters_replayed_and_applied_are_both_told(group: Group) -> None:
    """The letter stays in its topic; what counts is the record that came after it."""
    await group.publish([note(1, data={"users": 5})])
    async with group.member():
        await group.until_worked_off()
        await group.publish([note(1)])
        await group.until_worked_off()

    found = await asked(group, "ev_1")

    assert verdict(found).endswith("applied: this is how it stands")
    assert len(found.letters) == 1


@pytest.mark.parametrize("option", [(), ("--json",)])
async def test_command_tells_where_it_looked(
    group: Group, mongo_settings: MongoSettings, option: tuple[str, ...]
) -> None:
    url, database = mongo_settings.url.get_secret_value(), mongo_settings.database
    variables = environment(group, url, database)

    process = await spawn(variables, "explain", "--organization", "orga_1", "ev_unknown", *option)
    output, errors = (text.decode() for text in await process.communicate())

    assert (process.returncode, errors) == (0, "")
    assert "ev_unknown of orga_1: nothing is known" in output
    if not option:
        lines = output.splitlines()
        assert lines[1].startswith("looked at: the store; 0 records of the topics since ")
        assert lines[2] == "consumers: 0 records behind"
        assert all(line.startswith("try: ") for line in lines[3:])


async def test_json_holds_what_the_lines_tell(group: Group) -> None:
    await group.publish([note(1)])

    told = to_json(await asked(group, "ev_1"))

    assert told["verdict"] == "event ev_1 of orga_1: not worked off yet"
    assert told["records"][0]["fate"] == "waiting"
