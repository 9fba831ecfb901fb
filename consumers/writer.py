"""One batch made durable: activities, then threads, then dead letters (invariant I4)."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
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
from service.errors import Rejected, RejectionCode, StoreError, StoreUnavailable
from service.observability import (
    BATCH_RECORDS,
    BATCH_SECONDS,
    DEAD_LETTERS,
    DEVIATIONS,
    RECORDS,
    THREADS_REFRESHED,
)
from service.store.mongo import Mongo
from service.store.threads import refresh_threads
from service.store.writes import EncodedChange, Outcome, Written, write_changes

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
_SETTLED = (Outcome.APPLIED, Outcome.STALE, Outcome.DUPLICATE)


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
        *,
        retry_max_seconds: float,
        stop: asyncio.Event,
    ) -> None:
        self._mongo = mongo
        self._dead_letters = dead_letters
        self._dead_letter_topic = dead_letter_topic
        self._fuse = fuse
        self._health = health
        self._retry_max_seconds = retry_max_seconds
        self._stop = stop
        self._notices = Notices(log)

    async def write(self, batch: Batch) -> None:
        """On return everything in the batch is durable; its positions are the caller's.

        Raises `StoreError` or `KafkaError` where an outage outlasts the process: nothing may be
        committed then, and repeating the batch is right. Raises `Halted` when the fuse blows.
        """
        began = time.monotonic()
        written = await self._write_changes(batch)
        await self._refresh_threads(written)
        await self._set_aside(batch)
        BATCH_SECONDS.observe(time.monotonic() - began)
        _count(batch, written)

    async def _write_changes(self, batch: Batch) -> list[tuple[Entry, Written]]:
        """Write the newest revision of each activity, or the newest that MongoDB takes."""
        pending = batch.newest()
        settled: list[tuple[Entry, Written]] = []

        async def attempt() -> None:
            nonlocal pending
            while pending:
                answers = await write_changes(self._mongo, [entry.change for entry in pending])
                outcomes = list(zip(pending, answers, strict=True))
                settled.extend([pair for pair in outcomes if pair[1].outcome in _SETTLED])
                unsettled = [pair for pair in outcomes if pair[1].outcome not in _SETTLED]
                unconfirmed = [entry for entry, answer in unsettled if _is_unconfirmed(answer)]
                pending = [*_older(batch, unsettled), *unconfirmed]
                if unconfirmed:
                    raise StoreUnavailable(f"{len(unconfirmed)} changes are unconfirmed")

        await self._insist("mongodb", StoreError, attempt)
        return settled

    async def _refresh_threads(self, written: Sequence[tuple[Entry, Written]]) -> None:
        if not written:
            return
        changes = [entry.change for entry, _ in written]
        answers = [answer for _, answer in written]

        async def attempt() -> None:
            THREADS_REFRESHED.inc(await refresh_threads(self._mongo, changes, answers))

        await self._insist("mongodb", StoreError, attempt)

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

        def note(state: RetryCallState) -> None:
            fault = state.outcome.exception() if state.outcome else None
            self._health.fail(cause, str(fault) or type(fault).__name__)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(error),
            wait=wait_random_exponential(FIRST_PAUSE_SECONDS, self._retry_max_seconds),
            stop=stop_when_event_set(self._stop),  # type: ignore[arg-type]  # is_set() is all it asks
            sleep=self._pause,
            before_sleep=note,
            reraise=True,
        )
        await retrying(attempt)
        self._health.recover(cause)

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until the process is to stop."""
        await within(seconds, self._stop.wait())


def _is_unconfirmed(answer: Written) -> bool:
    return answer.outcome is Outcome.UNCONFIRMED


def _older(batch: Batch, outcomes: Iterable[tuple[Entry, Written]]) -> list[Entry]:
    """The revisions to which refused ones give way."""
    older = []
    for entry, answer in outcomes:
        if answer.outcome is Outcome.REFUSED:
            next_one = batch.give_way(entry, _to_rejected(entry.change, answer))
            if next_one is not None:
                older.append(next_one)
    return older


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
        "offset": refusal.record.offset,
        "code": refusal.rejected.code,
        "reason": refusal.rejected.message,
        "organization": refusal.rejected.organization_id,
        "event": refusal.rejected.event_id,
    }


def _count(batch: Batch, written: Iterable[tuple[Entry, Written]]) -> None:
    """The metrics of a batch that is durable."""
    outcomes = Counter[tuple[str, str]](
        [(entry.record.topic, answer.outcome) for entry, answer in written]
    )
    outcomes.update((entry.record.topic, outcome) for entry, outcome in batch.overtaken())
    outcomes.update((record.topic, "ignored") for record in batch.ignored)
    outcomes.update((refusal.record.topic, "rejected") for refusal in batch.refusals)
    for (topic, outcome), count in outcomes.items():
        RECORDS.labels(topic, outcome).inc(count)
    for refusal in batch.refusals:
        DEAD_LETTERS.labels(refusal.rejected.code).inc()
    for entry, _ in written:
        for type_name, field in entry.change.deviations:
            DEVIATIONS.labels(type_name, field).inc()
    BATCH_RECORDS.observe(batch.size)
