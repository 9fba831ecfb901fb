"""A lead's month made up at random, in about the mixture of a sales team."""

from datetime import datetime, timedelta

from deploy.local.demo import scenes
from deploy.local.demo.journal import Journal, Lead, User

SUBJECTS = ("Price list", "Delivery in spring", "Question about invoice", "Next steps", "Samples")
TEXTS = (
    "Asked about volumes.",
    "Will decide next week.",
    "Wants to talk to a reference.",
    "Budget is approved.",
    "Please call after lunch.",
)


def tell_at_random(
    journal: Journal, lead: Lead, users: tuple[User, ...], now: datetime, count: int
) -> None:
    """`count` things happen to a lead over the month before `now`; some are changed afterwards."""
    start = now - timedelta(days=30)
    journal.create("Created", lead, None, start, source="import")
    for number in range(1, count):
        at = start + timedelta(days=29) * number / count
        happen(journal, lead, journal.random.choice(users), at)


def happen(journal: Journal, lead: Lead, user: User, at: datetime) -> None:
    """One thing happens to a lead; it may be changed a little later."""
    choose = journal.random
    text = choose.choice(TEXTS)
    match choose.choices(("Call", "Email", "SMS", "Note", "Meeting", "Task"), (6, 6, 4, 3, 1, 1))[
        0
    ]:
        case "Call":
            call = journal.create(
                "Call", lead, user, at, **scenes.call(lead, choose.randrange(20, 1800), text)
            )
            if choose.random() < 0.5:
                journal.change("updated", call, at + timedelta(minutes=40), note=f"{text} Noted.")
        case "Email":
            conversation = scenes.Conversation(journal, lead, user, choose.choice(SUBJECTS))
            conversation.send(at, text)
        case "SMS":
            journal.create("SMS", lead, user, at, **scenes.text_message(lead, text))
        case "Note":
            note = journal.create("Note", lead, user, at, **scenes.note(text))
            journal.change("updated", note, at + timedelta(minutes=2), pinned=True)
        case "Meeting":
            journal.create("Meeting", lead, user, at, **scenes.meeting(lead, at, "Weekly call"))
        case _:
            journal.create("TaskCompleted", lead, user, at, **scenes.task(text))
