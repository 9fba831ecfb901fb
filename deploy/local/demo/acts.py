"""The acts of the demo: each does something, shows what came of it, and claims what is so."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiokafka import AIOKafkaProducer

from deploy.local.demo.clients import App, count_records, publish, read_dead_letters, wait_until
from deploy.local.demo.display import Display
from deploy.local.demo.place import Place
from deploy.local.demo.story import BRIGHTWATER, QUOTE_THREAD, Story, tell_live

LIVE_MESSAGES = 25
MODES: Mapping[str, Mapping[str, str]] = {
    "absent": {},
    "true": {"thread_emails": "true"},
    "only": {"thread_emails": "only"},
}

ADDRESSES = {
    "a timeline, five activities a page": f"/activity/?lead_id={BRIGHTWATER.id}&_limit=5",
    "only calls and notes, and only three fields of them": (
        f"/activity/?lead_id={BRIGHTWATER.id}&_type__in=Call,Note&_fields=_type,note,date_created"
    ),
    "conversations in place of emails": f"/activity/?lead_id={BRIGHTWATER.id}&thread_emails=only",
    "one conversation with its emails": f"/activity/emailthread/{QUOTE_THREAD}/",
    "calls of all leads, by one person": "/activity/call/?user_id=user_mei&_limit=3",
    "whose key this is": "/me/",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What every act needs."""

    place: Place
    story: Story
    producer: AIOKafkaProducer
    app: App
    operations_url: str
    display: Display


async def publish_story(stage: Stage) -> None:
    """Publish everything; wait until it is visible and every record is accounted for."""
    story, display = stage.story, stage.display
    started = time.monotonic()
    await publish(stage.producer, stage.place.topics, story.journal.published)
    acknowledged = time.monotonic() - started
    seconds = await wait_until(lambda: _is_visible(stage))
    display.heading("What was published, and what became of it")
    display.claim(
        f"{len(story.journal.published)} records were acknowledged by Kafka after"
        f" {acknowledged * 1000:.0f} ms, and {(seconds or 0) * 1000:.0f} ms later all of"
        f" {len(story.journal.listed)} leads' activities could be listed",
        is_so=seconds is not None,
    )


async def _is_visible(stage: Stage) -> bool:
    for lead_id, listed in stage.story.journal.listed.items():
        found = await stage.app.find_all(lead_id=lead_id)
        if {activity["id"] for activity in found} != listed:
            return False
    _, call = await stage.app.get(f"/activity/{stage.story.call['id']}/")
    return bool(call.get("status") == "completed")


async def show_outcomes(stage: Stage) -> None:
    """Every record is accounted for; the three bad ones are set aside, and only they."""
    published = len(stage.story.journal.published)

    async def is_counted() -> bool:
        return sum((await count_records(stage.operations_url)).values()) == published

    is_complete = await wait_until(is_counted) is not None
    counts = await count_records(stage.operations_url)
    letters = await read_dead_letters(stage.place.bootstrap_servers, stage.place.dead_letter_topic)
    stage.display.outcomes(sorted(stage.place.topics.values()), counts)
    stage.display.claim("every record is accounted for", is_so=is_complete)
    stage.display.dead_letters(letters)
    stage.display.claim(
        "three bad records were set aside with their exact bytes, and hurt nobody",
        is_so={letter.code: letter.value for letter in letters} == stage.story.rejected,
    )


async def show_timeline(stage: Stage) -> None:
    """One lead's activities, newest first."""
    story, lead_id = stage.story, BRIGHTWATER.id
    rows = await stage.app.find_all(lead_id=lead_id, _limit="10")
    stage.display.heading(f"The timeline of {BRIGHTWATER.name}, newest first")
    stage.display.timeline(
        rows,
        {
            story.call["id"]: "completed, though its first event came again afterwards",
            story.late_email["id"]: "came last of all, and stands in its place",
        },
    )
    dates = [row["date_created"] for row in rows]
    stage.display.claim(
        f"all {len(rows)} of them, newest first, over three pages by cursor",
        is_so=_is_descending(dates) and len(rows) == len(story.journal.listed[lead_id]),
    )
    types = {row["_type"] for row in rows}
    stage.display.claim(f"{len(types)} types of activity, one listing", is_so=len(types) == 14)
    _, call = await stage.app.get(f"/activity/call/{story.call['id']}/")
    ended = (call.get("status"), call.get("duration"))
    stage.display.claim("the call is completed", is_so=ended == ("completed", 611))
    status, _ = await stage.app.get(f"/activity/{story.deleted['id']}/")
    stage.display.claim("the deleted note is gone: 404", is_so=status == 404)


def _is_descending(dates: Sequence[str]) -> bool:
    moments = [datetime.fromisoformat(date) for date in dates]
    return moments == sorted(moments, reverse=True)


async def show_conversations(stage: Stage) -> None:
    """The same emails in the three modes of contract 3.3."""
    parameters = {"lead_id": BRIGHTWATER.id, "_type": "Email"}
    rows = {mode: await stage.app.find_all(**parameters, **more) for mode, more in MODES.items()}
    stage.display.heading(f"The conversations of {BRIGHTWATER.name}, in three modes")
    stage.display.modes(rows)
    conversations = stage.story.conversations
    n_emails, n_threads = sum(conversations.values()), len(conversations)
    counts = {mode: Counter(row["_type"] for row in answer) for mode, answer in rows.items()}
    expected = {
        "absent": {"Email": n_emails},
        "true": {"EmailThread": n_threads, "Email": n_emails},
        "only": {"EmailThread": n_threads},
    }
    stage.display.claim("each mode shows each email once, or its thread", is_so=counts == expected)
    stage.display.claim(
        "emails beside their threads are stripped of their bodies",
        is_so=not any("body_text" in row for row in rows["true"]),
    )
    threads = {row["latest_normalized_subject"]: row["n_emails"] for row in rows["only"]}
    stage.display.claim(
        f"{' and '.join(f'{name} ({count})' for name, count in threads.items())} are threaded,"
        " the late email among them",
        is_so=threads == conversations,
    )
    stage.display.claim(
        "a summary from upstream is laid over its thread",
        is_so=[row["id"] for row in rows["only"] if row.get("summary")] == [QUOTE_THREAD],
    )


async def show_live(stage: Stage) -> None:
    """One event at a time, each asked for until it is there."""
    milliseconds: list[float] = []
    for number in range(LIVE_MESSAGES):
        seconds = await _publish_live(stage, number)
        if seconds is None:
            break
        milliseconds.append(seconds * 1000)
    stage.display.heading("From published to visible, one event at a time")
    stage.display.claim(
        f"{LIVE_MESSAGES} messages: median {statistics.median(milliseconds or [0]):.0f} ms,"
        f" slowest {max(milliseconds, default=0):.0f} ms",
        is_so=len(milliseconds) == LIVE_MESSAGES,
    )


async def _publish_live(stage: Stage, number: int) -> float | None:
    """Seconds from before it is published to the first answer that holds it, or None."""
    started = time.monotonic()
    message = tell_live(stage.story.journal, datetime.now(UTC), number)
    await publish(stage.producer, stage.place.topics, [stage.story.journal.latest])
    is_there = partial(_is_there, stage.app, f"/activity/{message['id']}/")
    if await wait_until(is_there) is None:
        return None
    return time.monotonic() - started


async def _is_there(app: App, path: str) -> bool:
    status, _ = await app.get(path)
    return status == 200


async def show_addresses(stage: Stage, key: str) -> None:
    """Lines to paste. Each is asked for here, too."""
    stage.display.heading("Try it")
    statuses = []
    for what, path in ADDRESSES.items():
        status, _ = await stage.app.get(path)
        statuses.append(status)
        stage.display.say(f"# {what}\ncurl -s -u {key}: '{stage.app.url}{path}'")
    stage.display.say(f"# what the consumer counts\ncurl -s {stage.operations_url}/metrics")
    stage.display.claim("each of these answers", is_so=set(statuses) == {200})
