"""A month of five leads: one is told, the others are made up at random."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.local.demo import scenes
from deploy.local.demo.chance import happen, tell_at_random
from deploy.local.demo.journal import Activity, Contact, Journal, Lead, Published, User, encode
from deploy.local.demo.scenes import Conversation

BRIGHTWATER = Lead(
    "lead_brightwater",
    "Brightwater Supply",
    Contact("cont_ines", "Ines Duarte", "ines@brightwater.example", "+351210000101"),
)
OTHER_LEADS = (
    Lead(
        "lead_northwind",
        "Northwind Bakery",
        Contact("cont_sven", "Sven Olsson", "sven@northwind.example", "+46850000102"),
    ),
    Lead(
        "lead_copperfield",
        "Copperfield Labs",
        Contact("cont_priya", "Priya Nair", "priya@copperfield.example", "+442070000103"),
    ),
    Lead(
        "lead_juniper",
        "Juniper Freight",
        Contact("cont_luc", "Luc Moreau", "luc@juniper.example", "+33140000104"),
    ),
    Lead(
        "lead_marlow",
        "Marlow & Finch",
        Contact("cont_hana", "Hana Sato", "hana@marlow.example", "+81350000105"),
    ),
)
ANA = User("user_ana", "Ana Silva", "ana@seller.example")
TOM = User("user_tom", "Tom Berg", "tom@seller.example")
MEI = User("user_mei", "Mei Chen", "mei@seller.example")
USERS = (ANA, TOM, MEI)
HAPPENINGS_PER_LEAD = 60
QUOTE_THREAD = "thread_quote"


@dataclass(frozen=True, slots=True)
class Story:
    """What was published, and what must be seen of it."""

    journal: Journal
    call: Activity
    deleted: Activity
    late_email: Activity
    conversations: dict[str, int]
    rejected: dict[str, bytes]


def tell_live(journal: Journal, now: datetime, number: int) -> Activity:
    """One more text message, happening right now."""
    message = scenes.text_message(OTHER_LEADS[0], f"Live message {number}")
    return journal.create("SMS", OTHER_LEADS[0], MEI, now, **message)


def tell_on(journal: Journal, now: datetime) -> list[Published]:
    """What happens next, for whoever watches: one thing, right now."""
    told = len(journal.in_time())
    lead = journal.random.choice((BRIGHTWATER, *OTHER_LEADS))
    happen(journal, lead, journal.random.choice(USERS), now)
    return journal.in_time(since=told)


def tell(now: datetime, seed: int = 7) -> Story:
    """Tell the story as of `now`; the same seed tells the same."""
    journal = Journal(seed)
    for lead in OTHER_LEADS:
        tell_at_random(journal, lead, USERS, now, count=HAPPENINGS_PER_LEAD)
    _tell_beginning(journal, now)
    late_email, quote = _tell_quote(journal, now)
    _tell_middle(journal, now)
    contract = _tell_contract(journal, now)
    return Story(
        journal,
        call=_tell_call(journal, now),
        deleted=_tell_deleted_note(journal, now),
        late_email=late_email,
        conversations={"Quote for 400 pallets": quote, "Contract draft": contract},
        rejected=_make_mistakes(journal, now),
    )


def _tell_beginning(journal: Journal, now: datetime) -> None:
    at = now - timedelta(days=21)
    journal.create("Created", BRIGHTWATER, None, at, source="webform")
    journal.create("FormSubmission", BRIGHTWATER, None, at + timedelta(seconds=1), **scenes.form())
    at += timedelta(days=1)
    called = scenes.call(BRIGHTWATER, 312, "Wants 400 pallets a month.")
    journal.create("Call", BRIGHTWATER, ANA, at, **called)
    moved = scenes.lead_status("Potential", "Contacted")
    journal.create("LeadStatusChange", BRIGHTWATER, ANA, at + timedelta(minutes=9), **moved)


def _tell_quote(journal: Journal, now: datetime) -> tuple[Activity, int]:
    """The first conversation. Its second email reaches Kafka after everything else."""
    at = now - timedelta(days=19)
    quote = Conversation(journal, BRIGHTWATER, ANA, "Quote for 400 pallets", QUOTE_THREAD)
    quote.send(at, "Dear Ines, our offer for 400 pallets a month is attached.")
    with journal.late():
        question = "Thank you! Does it include delivery?"
        late = quote.receive(at + timedelta(hours=5), question, mark="Re: ")
    quote.send(at + timedelta(hours=20), "It does, anywhere in Portugal.", mark="Re: ")
    quote.receive(at + timedelta(days=2), "Then may we see your warehouse?", mark="AW: Re: ")
    summary = {"status": "success", "summary_text": "Price agreed, delivery included."}
    journal.overlay(QUOTE_THREAD, BRIGHTWATER, at + timedelta(days=3), summary=summary)
    return late, quote.n_emails


def _tell_middle(journal: Journal, now: datetime) -> None:
    """One of each of the remaining types, a day apart."""
    told: list[tuple[str, User | None, Activity]] = [
        ("Meeting", TOM, scenes.meeting(BRIGHTWATER, now - timedelta(days=15), "Warehouse tour")),
        ("Note", TOM, scenes.note("They need cold storage, too.")),
        ("TaskCompleted", ANA, scenes.task("Send the price list")),
        ("OpportunityStatusChange", ANA, scenes.opportunity("Qualified", "Proposal sent")),
        ("SMS", ANA, scenes.text_message(BRIGHTWATER, "May I call you tomorrow?")),
        ("WhatsAppMessage", MEI, scenes.whatsapp(BRIGHTWATER, "Here is the new loading dock")),
        ("CustomActivity", TOM, scenes.site_visit()),
        ("ImportUpdate", None, {"import_id": "import_may", "reverted": False}),
        ("LeadMerge", MEI, scenes.merge(BRIGHTWATER)),
    ]
    for day, (type_name, user, fields) in enumerate(told):
        journal.create(type_name, BRIGHTWATER, user, now - timedelta(days=15 - day), **fields)


def _tell_contract(journal: Journal, now: datetime) -> int:
    """The second conversation: nobody names its thread, its subject does."""
    at = now - timedelta(days=5)
    contract = Conversation(journal, BRIGHTWATER, TOM, "Contract draft")
    contract.send(at, "Ines, please find the contract attached.")
    contract.receive(at + timedelta(days=1), "Our lawyers want one change, on page three.", "Re: ")
    contract.send(at + timedelta(days=2), "Done. This is the version to sign.", mark="RE: Re: ")
    won = scenes.opportunity("Proposal sent", "Won")
    journal.create("OpportunityStatusChange", BRIGHTWATER, TOM, at + timedelta(days=4), **won)
    return contract.n_emails


def _tell_call(journal: Journal, now: datetime) -> Activity:
    """A call from created to completed; then its first event comes again, late."""
    at = now - timedelta(minutes=14)
    begun = scenes.call(BRIGHTWATER, 0, "") | {"status": "created", "disposition": None}
    with journal.late():
        call = journal.create("Call", BRIGHTWATER, MEI, at, **begun)
        journal.repeat()
    journal.change("answered", call, at + timedelta(seconds=8), status="in-progress")
    ended = scenes.call(BRIGHTWATER, 611, "Signed! Start in the first week of the month.")
    return journal.change("completed", call, at + timedelta(seconds=619), **ended)


def _tell_deleted_note(journal: Journal, now: datetime) -> Activity:
    at = now - timedelta(days=2)
    note = journal.create("Note", BRIGHTWATER, MEI, at, **scenes.note("This is another lead's."))
    journal.delete(note, at + timedelta(minutes=5))
    return note


def _make_mistakes(journal: Journal, now: datetime) -> dict[str, bytes]:
    """Three records that can never be applied, by the code they must be set aside with.

    One that is no activity's goes along: that is no mistake, and is passed over.
    """
    note = journal.sketch("Note", BRIGHTWATER, MEI, now) | scenes.note("Never seen.")
    records = {
        "invalid_json": encode(journal.event("created", note, now))[:200],
        "unknown_type": encode(
            journal.event("created", note, now) | {"object_type": "activity.hologram"}
        ),
        "invalid_activity": encode(
            journal.event("created", note | {"date_created": "yesterday"}, now)
        ),
    }
    for value in records.values():
        journal.publish("events", BRIGHTWATER.id, value)
    lead_event = journal.event("updated", note, now) | {"object_type": "lead"}
    journal.publish("events", BRIGHTWATER.id, encode(lead_event))
    return records
