"""Threads with so many members that nobody else is to wait for their refresh."""

import asyncio
import time
from collections import OrderedDict
from typing import Any

from service.store.group_commit import GroupCommit
from service.store.ids import ThreadKey

# Members of a thread that is long: it takes some milliseconds of this process.
LONG_MEMBERS = 500
# Refreshed at once; each holds its members in memory.
MAX_AT_ONCE = 2
MAX_KNOWN = 10_000
# The longest that a refresh works without letting others have the loop.
MAX_WORK_SECONDS = 0.01


class LongThreads:
    """Those that this process has met lately, each with a group commit of its own."""

    def __init__(self) -> None:
        self._known: OrderedDict[ThreadKey, GroupCommit[Any]] = OrderedDict()
        self.places = asyncio.Semaphore(MAX_AT_ONCE)

    def __contains__(self, thread: object) -> bool:
        return thread in self._known

    def __getitem__(self, thread: ThreadKey) -> GroupCommit[Any]:
        self._known.move_to_end(thread)
        return self._known[thread]

    def note(self, thread: ThreadKey, members: int) -> None:
        """So many members were read of it."""
        if members < LONG_MEMBERS or thread in self._known:
            return
        self._known[thread] = GroupCommit()
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


class Breath:
    """Lets others have the loop between two pieces of a long work."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def draw(self) -> None:
        if time.monotonic() - self._since > MAX_WORK_SECONDS:
            await asyncio.sleep(0)
            self._since = time.monotonic()
