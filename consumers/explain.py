"""`activity-consumers explain`: what is known of an activity or an event (contract 4)."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from consumers.commands import with_kafka
from consumers.explanation import Explanation, Limits, Told, explain, to_event_id, to_time
from consumers.replay import describe, printable, tell_time
from service.activities.events import OVERLAY_SUFFIX
from service.settings import IngestSettings, KafkaSettings, MongoSettings, read_section
from service.store.accounts import Account
from service.store.mongo import connect

_WORDS = {
    "applied": "applied: this is how it stands",
    "deleted": "applied: it is deleted",
    "duplicate": "a duplicate: the same event came before, nothing changed",
    "stale": "overtaken",
    "ignored": "ignored: its object_type is no activity's",
    "rejected": "a dead letter",
    "waiting": "not worked off yet",
    "gone": "worked off, and not in the store: it was deleted so long ago that its marker has"
    " expired, or it was removed by hand",
}
_HINTS = (
    "is it the id of the event or of the activity, and of this organization?",
    "had it been published? `activity-consumers publish` says how many Kafka has acknowledged",
    "would it be applied? `activity-consumers check` says so without a server",
    "is it older than what was read? try a larger --hours",
)


@click.command(name="explain", help="What is known of an activity or event id.")
@click.option("--organization", required=True, help="Whose it is.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="How far back to read the topics.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("id_", metavar="ID")
def explain_command(organization: str, hours: float, as_json: bool, id_: str) -> None:
    kafka, mongo_settings = read_section(KafkaSettings), read_section(MongoSettings)
    limits = Limits(timedelta(hours=hours), read_section(IngestSettings).max_record_bytes)

    async def work() -> Explanation:
        async with connect(mongo_settings) as mongo:
            return await explain(kafka, mongo, organization, id_, limits)

    found = with_kafka(kafka, work)
    if as_json:
        click.echo(json.dumps(to_json(found)))
        return
    for line in tell(found):
        click.echo(printable(line))


def tell(found: Explanation) -> Iterator[str]:
    """The answer in lines; the first is the short one."""
    yield verdict(found)
    for account in found.accounts:
        yield f"stored: {_tell_account(account)}"
    for told in found.told:
        yield f"record: {told.origin}, {tell_time(told.time_ms)}, event {told.event_id}: {_fate(told)}"
    for letter in found.letters:
        yield f"dead letter: {describe(letter)}"
    yield (
        f"looked at: the store; {found.records_read} records of the topics since"
        f" {found.since:%Y-%m-%dT%H:%M:%SZ}; {found.letters_read} dead letters"
    )
    behind = {one: count for one, count in found.behind.items() if count}
    where = ", ".join(f"{one.topic}[{one.partition}] {count}" for one, count in behind.items())
    yield f"consumers: {sum(behind.values())} records behind" + (f" ({where})" if where else "")
    if not (found.accounts or found.told or found.letters):
        yield from (f"try: {hint}" for hint in _HINTS)


def verdict(found: Explanation) -> str:
    """What became of the event of that id, else how the activity of that id stands."""
    own = [told for told in found.told if told.event_id == found.id]
    fates = [told for told in own if told.fate != "duplicate"] or own
    name = f"{found.id} of {found.organization_id}"
    if fates:
        return f"event {name}: {_fate(fates[-1])}"
    stored = [one for one in found.accounts if one.stored_id.partition("!")[0] == found.id]
    if stored:
        return f"activity {name}: {_tell_account(stored[0])}"
    if found.told:
        return f"activity {name}: {_fate(found.told[-1])}"
    if found.letters:
        return f"{name}: {_WORDS['rejected']}"
    return f"{name}: nothing is known"


def _fate(told: Told) -> str:
    more = ", ".join(filter(None, [told.code, told.why]))
    return f"{_WORDS[told.fate]}{f' ({more})' if more else ''}"


def _tell_account(account: Account) -> str:
    since = ""
    if account.revision:
        since = f", as of {to_time(account.revision)} by event {to_event_id(account.revision)}"
    if account.stored_id.endswith(OVERLAY_SUFFIX):
        kind = "what is laid over the thread"
        return f"{kind}{since}" if not account.deleted_at else f"{kind}, deleted{since}"
    if account.type_name is None:
        at = (
            f" (marker written {account.deleted_at:%Y-%m-%dT%H:%M:%SZ})"
            if account.deleted_at
            else ""
        )
        return f"deleted{since}{at}"
    lead = f"on {account.lead_id}" if account.lead_id else "on no lead"
    thread = f", in thread {account.thread_id}" if account.thread_id else ""
    emails = f", {account.n_emails} emails" if account.n_emails else ""
    return f"{account.type_name} {lead}{thread}{emails}{since}"


def to_json(found: Explanation) -> dict[str, Any]:
    return {
        "organization_id": found.organization_id,
        "id": found.id,
        "verdict": verdict(found),
        "stored": [
            account._asdict()
            | {"deleted_at": account.deleted_at and account.deleted_at.isoformat()}
            for account in found.accounts
        ],
        "records": [told._asdict() for told in found.told],
        "dead_letters": [describe(letter) for letter in found.letters],
        "looked_at": {
            "records": found.records_read,
            "dead_letters": found.letters_read,
            "since": found.since.isoformat(),
        },
        "behind": {f"{one.topic}[{one.partition}]": count for one, count in found.behind.items()},
    }
