"""One batch made durable: activities, then threads, then dead letters (invariant I4)."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_when_event_set,
    wait_random_exponential,
)

from consumers.batch import Batch, Entry, Refusal
from consumers.dead_letters import DeadLetterProducer, to_letter
from consumers.deadlines import within
from consumers.dispatch import Dispatch
from consumers.fuse import Fuse
from consumers.health import Cause, Health
from consumers.notices import Notices
from consumers.patience import Patience, Refused
from consumers.records import to_first_offset
from service.errors import Rejected, RejectionCode, StoreError, StoreUnavailable
from service.observability import (
    BATCH_RECORDS,
    BATCH_SECONDS,
    DEAD_LETTERS,
    DEVIATIONS,
    RECORDS,
    RECORDS_PUT_OFF,
    THREADS_REFRESHED,
)
from service.store.blame import Blame
from service.store.mongo import Mongo
from service.store.threads import ThreadsRefused, refresh_threads
from service.store.writes import EncodedChange, Outcome, Written, write_changes

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
_SETTLED = (Outcome.APPLIED, Outcome.STALE, Outcome.DUPLICATE)


class RefusedAlone(StoreUnavailable):
    """MongoDB refuses some changes of a batch while it takes others: no outage."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Why a change, or its thread, is not durable yet."""

    entry: Entry
    reason: str
    is_outage: bool

    def details(self) -> dict[str, object]:
        """What the log says of it: nothing of the record's content."""
        record, change = self.entry.record, self.entry.change
        return {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "reason": self.reason,
            "organization": change.organization_id,
            "event": change.event_id,
        }


AllPutOff = dict[int, PutOff]
"""By the number of the entry."""


@dataclass(slots=True)
class Work:
    """What is left to be done of a batch: `changes` to be written, and those written of which the
    threads are to be refreshed. `refused` has each that MongoDB has refused alone."""

    batch: Batch
    changes: list[Entry]
    unrefreshed: list[tuple[Entry, Written]] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)
    _outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _deviations: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def is_done(self) -> bool:
        return not (self.changes or self.unrefreshed)

    def settle(self, pairs: Iterable[tuple[Entry, Written]]) -> None:
        """These are durable, and so are their threads."""
        self._outcomes.update([(entry.record.topic, answer.outcome) for entry, answer in pairs])
        for entry, _ in pairs:
            self._deviations.update(entry.change.deviations)

    def give_way(self, entry: Entry, rejected: Rejected) -> list[Entry]:
        """The older revision, if any, to which a refused one gives way."""
        older = self.batch.give_way(entry, rejected)
        return [] if older is None else [older]

    def refuse(self, entry: Entry, reason: str) -> None:
        """It was refused alone for too long: its change, or the thread of a change that is stored."""
        change = entry.change
        rejected = Rejected(
            "refused",
            reason,
            organization_id=change.organization_id,
            event_id=change.event_id,
        )
        if entry in self.changes:
            self.changes.remove(entry)
            self.changes += self.give_way(entry, rejected)
        else:
            self.batch.set_aside(entry, rejected)
            self.unrefreshed = [pair for pair in self.unrefreshed if pair[0] is not entry]

    def set_apart(self) -> None:
        """Let no other batch wait for this one."""
        waiting = [*self.changes, *(entry for entry, _ in self.unrefreshed)]
        overtaken = self.batch.set_apart(waiting)
        self._outcomes.update([(entry.record.topic, outcome) for entry, outcome in overtaken])
        self._outcomes.update([(record.topic, "ignored") for record in self.batch.ignored])
        self.batch.ignored.clear()

    def count(self) -> None:
        """The metrics of a batch that is durable."""
        batch, outcomes = self.batch, self._outcomes
        outcomes.update((entry.record.topic, outcome) for entry, outcome in batch.overtaken())
        outcomes.update((record.topic, "ignored") for record in batch.ignored)
        outcomes.update((refusal.record.topic, "rejected") for refusal in batch.refusals)
        for (topic, outcome), count in outcomes.items():
            RECORDS.labels(topic, outcome).inc(count)
        for refusal in batch.refusals:
            DEAD_LETTERS.labels(refusal.rejected.code).inc()
        for (type_name, field_name), count in self._deviations.items():
            DEVIATIONS.labels(type_name, field_name).inc(count)
        BATCH_RECORDS.observe(batch.size)


class Writer:
    """Makes batches durable, several at once.

    An outage is waited out, with capped and jittered pauses, until `stop` is set: then there is
    one more attempt, and the batch is left as it is.
    """

    def __init__(
        self,
        mongo: Mongo,
        dead_letters: DeadLetterProducer,
        dead_letter_topic: str,
        fuse: Fuse,
        health: Health,
        patience: Patience,
        *,
        retry_max_seconds: float,
        stop: asyncio.Event,
    ) -> None:
        self._mongo = mongo
        self._dead_letters = dead_letters
        self._dead_letter_topic = dead_letter_topic
        self._fuse = fuse
        self._health = health
        self._patience = patience
        self._retry_max_seconds = retry_max_seconds
        self._stop = stop
        self._notices = Notices(log)

    async def write(self, batch: Batch) -> None:
        """On return everything in the batch is durable; its positions are the caller's.

        Raises `StoreError` or `KafkaError` where an outage outlasts the process: nothing may be
        committed then, and repeating the batch is right. Raises `Halted` when the fuse blows.
        """
        began = time.monotonic()
        work = Work(batch, batch.newest())

        async def attempt() -> None:
            await self._attempt(work)

        try:
            await self._insist("mongodb", StoreError, attempt)
        finally:
            RECORDS_PUT_OFF.dec(len(work.refused))
        await self._set_aside(batch)
        if not batch.is_set_apart:
            BATCH_SECONDS.observe(time.monotonic() - began)
        work.count()

    async def _attempt(self, work: Work) -> None:
        """Raises `StoreUnavailable` where something is left to be done, `RefusedAlone` where that
        is only what MongoDB refuses while it takes others."""
        faults = await self._write_changes(work) | await self._refresh_threads(work)
        outages = [fault for fault in faults.values() if fault.is_outage]
        if outages:
            raise StoreUnavailable(f"{len(outages)} changes are unconfirmed: {outages[0].reason}")
        if faults and not self._patience.are_others_taken:
            raise StoreUnavailable(next(iter(faults.values())).reason)
        self._judge(work, faults)
        if not work.is_done:
            work.set_apart()
            raise RefusedAlone(f"{len(faults)} changes are refused alone")

    async def _write_changes(self, work: Work) -> AllPutOff:
        """Write the newest revision of each activity, or the newest that MongoDB takes."""
        faults: AllPutOff = {}
        pending = work.changes
        while pending:
            answers = await write_changes(self._mongo, [entry.change for entry in pending])
            older: list[Entry] = []
            for entry, answer in zip(pending, answers, strict=True):
                if answer.outcome in _SETTLED:
                    work.unrefreshed.append((entry, answer))
                elif answer.outcome is Outcome.REFUSED:
                    older += work.give_way(entry, _to_rejected(entry.change, answer))
                else:
                    is_outage = answer.outcome is Outcome.UNCONFIRMED
                    faults[entry.number] = PutOff(entry, answer.reason, is_outage=is_outage)
            if any(answer.outcome is Outcome.APPLIED for answer in answers):
                self._patience.note_taken()
            pending = older
            work.changes = [*pending, *(fault.entry for fault in faults.values())]
        return faults

    async def _refresh_threads(self, work: Work) -> AllPutOff:
        pairs = work.unrefreshed
        if not pairs:
            return {}
        changes, answers = [entry.change for entry, _ in pairs], [answer for _, answer in pairs]
        faults: AllPutOff = {}
        try:
            THREADS_REFRESHED.inc(await refresh_threads(self._mongo, changes, answers))
        except ThreadsRefused as refused:
            for place, fault in refused.faults.items():
                entry = pairs[place][0]
                is_outage = fault.blame is Blame.OUTAGE
                faults[entry.number] = PutOff(entry, f"its thread: {fault}", is_outage=is_outage)
        work.settle([pair for pair in pairs if pair[0].number not in faults])
        work.unrefreshed = [pair for pair in pairs if pair[0].number in faults]
        return faults

    def _judge(self, work: Work, faults: AllPutOff) -> None:
        """Set aside what was refused for too long (contract 1.5.5)."""
        for number, fault in faults.items():
            if number not in work.refused:
                work.refused[number] = Refused()
                RECORDS_PUT_OFF.inc()
                self._notices.warn("refused while others are taken", fault.details())
            elif self._patience.is_over(work.refused[number]):
                work.refuse(fault.entry, f"MongoDB refuses it alone: {fault.reason}")

    async def _set_aside(self, batch: Batch) -> None:
        letters = [to_letter(refusal, self._dead_letter_topic) for refusal in batch.refusals]
        with self._fuse.judged(batch.judged()):
            if letters:
                dispatch = Dispatch(self._dead_letters, letters)
                await self._insist("dead_letters", KafkaError, dispatch.attempt)
        for refusal in batch.refusals:
            self._notices.warn("set aside", _to_details(refusal))

    async def _insist(
        self, cause: Cause, error: type[Exception], attempt: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Repeat what fails for now, however long that lasts."""

        trying = object()

        def note(state: RetryCallState) -> None:
            fault = state.outcome.exception() if state.outcome else None
            if isinstance(fault, RefusedAlone):
                self._health.recover(cause, trying)
            else:
                self._health.fail(cause, str(fault) or type(fault).__name__, trying)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(error),
            wait=wait_random_exponential(FIRST_PAUSE_SECONDS, self._retry_max_seconds),
            stop=stop_when_event_set(self._stop),  # type: ignore[arg-type]  # is_set() is all it asks
            sleep=self._pause,
            before_sleep=note,
            reraise=True,
        )
        try:
            await retrying(attempt)
            self._health.recover(cause, trying)
        finally:
            self._health.leave(cause, trying)

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until the process is to stop."""
        await within(seconds, self._stop.wait())


def _to_rejected(change: EncodedChange, answer: Written) -> Rejected:
    code: RejectionCode = "too_large" if answer.is_too_large else "invalid_activity"
    return Rejected(
        code,
        f"MongoDB refuses the document: {answer.reason}",
        organization_id=change.organization_id,
        event_id=change.event_id,
    )


def _to_details(refusal: Refusal) -> dict[str, object]:
    """What the log says of a dead letter: nothing of the record's content."""
    return {
        "topic": refusal.record.topic,
        "partition": refusal.record.partition,
        "offset": to_first_offset(refusal.record),
        "code": refusal.rejected.code,
        "reason": refusal.rejected.message,
        "organization": refusal.rejected.organization_id,
        "event": refusal.rejected.event_id,
    }
