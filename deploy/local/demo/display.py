"""What the reader of the demo sees."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.demo.clients import DeadLetter

MIN_WIDTH = 100
OUTCOMES = {
    "applied": "applied",
    "stale": "overtaken by newer ones",
    "duplicate": "repeated",
    "ignored": "no activity",
    "rejected": "set aside",
}

Activity = Mapping[str, Any]


def _call(call: Activity) -> str:
    minutes, seconds = divmod(call["duration"], 60)
    return f"{call['direction']} call, {call['status']}, {minutes}:{seconds:02} · {call['note']}"


def _form(form: Activity) -> str:
    answers = ", ".join(f"{label}: {value}" for label, value in form["values_by_name"].items())
    return f"{form['form_name']} · {answers}"


def _who(activity: Activity) -> str:
    sender, _ = parseaddr(activity.get("sender") or "")
    return sender or activity["user_name"] or ""


def _thread(thread: Activity) -> str:
    people = ", ".join(person["name"] or person["email"] for person in thread["participants"])
    summary = (thread.get("summary") or {}).get("summary_text")
    text = f"{thread['latest_normalized_subject']} · {thread['n_emails']} emails by {people}"
    return f"{text} · {summary}" if summary else text


def _email(email: Activity) -> str:
    text = email.get("body_text") or email["body_preview"]
    return f"{email['subject']} · {text}"


def _shape(row: Activity) -> str:
    if row["_type"] == "EmailThread":
        return _thread(row)
    size = f"whole, {len(row)} fields" if "body_text" in row else f"stripped, {len(row)} fields"
    return f"{row['subject']} ({size})"


DESCRIPTIONS: dict[str, Callable[[Activity], str]] = {
    "Call": _call,
    "Created": lambda created: f"lead created by {created['source']}",
    "CustomActivity": lambda custom: f"site visit · {custom['custom.cf_remarks']}",
    "Email": _email,
    "EmailThread": _thread,
    "FormSubmission": _form,
    "ImportUpdate": lambda update: f"changed by {update['import_id']}",
    "LeadMerge": lambda merge: f"{merge['source_display_name']} merged into this lead",
    "LeadStatusChange": lambda c: f"{c['old_status_label']} → {c['new_status_label']}",
    "Meeting": lambda m: (
        f"{m['title']}, {m['status']}, {m['duration'] // 60} min · {m['location']}"
    ),
    "Note": lambda note: note["note"],
    "OpportunityStatusChange": lambda c: (
        f"{c['old_status_label']} → {c['new_status_label']} · {c['opportunity_value_formatted']}"
    ),
    "SMS": lambda sms: sms["text"],
    "TaskCompleted": lambda task: task["task_text"],
    "WhatsAppMessage": lambda message: message["text"],
}


class Display:
    """Prints, and remembers whether everything that was claimed is so."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if self._console.width < MIN_WIDTH or not self._console.is_terminal:
            self._console.width = MIN_WIDTH
        self._n_claims = 0
        self._broken: list[str] = []

    def heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """One line, never wrapped, so that it can be copied."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say, once it is done, what was done and how long it took."""
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        self._console.print(f"[dim]{seconds:5.1f} s[/dim]  {what}", soft_wrap=True)

    def claim(self, what: str, *, is_so: bool) -> None:
        """Say something of what is shown; what is not so ends the demo with an error."""
        self._n_claims += 1
        if not is_so:
            self._broken.append(what)
        mark = "[green]✔[/green]" if is_so else "[red]✘ not so:[/red]"
        self._console.print(f"{mark} {what}", soft_wrap=True)

    def outcomes(self, topics: Sequence[str], counts: Mapping[tuple[str, str], int]) -> None:
        table = Table("topic", *OUTCOMES.values(), "published")
        for column in table.columns[1:]:
            column.justify = "right"
        for topic in topics:
            row = [counts.get((topic, outcome), 0) for outcome in OUTCOMES]
            table.add_row(topic, *map(str, row), str(sum(row)))
        self._console.print(table)

    def dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        table = Table("code", "why", "topic / partition / offset")
        for letter in letters:
            table.add_row(letter.code, letter.reason, letter.position)
        self._console.print(table)

    def timeline(self, activities: Iterable[Activity], remarks: Mapping[str, str]) -> None:
        table = Table("when (UTC)", "type", "who", "what")
        table.columns[0].no_wrap = table.columns[1].no_wrap = table.columns[2].no_wrap = True
        for activity in activities:
            what = DESCRIPTIONS[activity["_type"]](activity)
            remark = remarks.get(activity["id"])
            table.add_row(
                datetime.fromisoformat(activity["date_created"]).strftime("%d %b %H:%M"),
                activity["_type"],
                _who(activity),
                f"{what} [cyan]← {remark}[/cyan]" if remark else what,
            )
        self._console.print(table)

    def modes(self, rows_by_mode: Mapping[str, Sequence[Activity]]) -> None:
        table = Table("thread_emails", "rows", "each")
        for mode, rows in rows_by_mode.items():
            each = "\n".join(f"{row['_type']}: {_shape(row)}" for row in rows)
            table.add_row(mode, str(len(rows)), each, end_section=True)
        self._console.print(table)

    def conclude(self) -> int:
        """The last line; the exit status that goes with it."""
        if self._broken:
            self._console.print(f"\n[red]Not so: {'; '.join(self._broken)}.[/red]", soft_wrap=True)
            return 1
        self._console.print(f"\n[green]All {self._n_claims} claims hold.[/green]")
        return 0
