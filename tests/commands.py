"""What the store asks of MongoDB, seen by a listener of the driver through the whole suite.

I1: every find and every update names its index. I2: the organization is the first term of every
filter, and every write names `organization_id` and `_id`. Only commands that come from `service.store` are judged,
not what a test asks for by itself; Motor runs the driver in threads, where nobody can tell, so its
commands, which are the same, are not judged.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

import service.store

COLLECTION = "activities"
_STORE_FOLDER = str(Path(str(service.store.__file__)).parent)
_WRITES = {"insert": "documents", "update": "updates", "delete": "deletes"}


class CommandWatch(CommandListener):
    """Keeps the finds that the store asked for, and what is wrong with any of its commands."""

    def __init__(self) -> None:
        self.finds: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.violations: list[str] = []

    def clear(self) -> None:
        self.finds.clear()
        self.names.clear()
        self.violations.clear()

    def started(self, event: CommandStartedEvent) -> None:
        command = event.command
        if _collection(command, event.command_name) != COLLECTION or not _is_from_store():
            return
        self.names.append(event.command_name)
        if event.command_name == "find":
            self.finds.append(dict(command))
        self.violations += violations(event.command_name, command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Of no interest."""


def violations(name: str, command: Mapping[str, Any]) -> Iterator[str]:
    """What in this command breaks I1 or I2."""
    if name == "find":
        yield from _filter_violations(command.get("filter", {}), command)
    elif name == "aggregate":
        first: Mapping[str, Any] = next(iter(command["pipeline"]), {})
        yield from _filter_violations(first.get("$match", {}), command)
    elif name in _WRITES:
        for each in command[_WRITES[name]]:
            named = each if name == "insert" else each["q"]
            if "organization_id" not in named or "_id" not in named:
                yield f"{name} without organization_id and _id: {sorted(named)}"
            if name != "insert" and not each.get("hint"):
                yield f"no hint: {sorted(named)}"
    elif name in {"count", "distinct", "findAndModify"}:
        yield f"{name} is none of the store's commands"


def _filter_violations(filter_: Mapping[str, Any], command: Mapping[str, Any]) -> Iterator[str]:
    if next(iter(filter_), None) != "organization_id":
        yield f"the organization is not the first term: {list(filter_)}"
    if not command.get("hint"):
        yield f"no hint: {list(filter_)}"


def _collection(command: Mapping[str, Any], name: str) -> object:
    return command.get("collection" if name == "getMore" else name)


def _is_from_store() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(_STORE_FOLDER):
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return False
