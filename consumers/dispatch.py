"""Dead letters on their way to their topic, until each has arrived (contract 1.6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiokafka.errors import InvalidTimestampError, KafkaError

from consumers.dead_letters import ADDED_HEADERS, MESSAGE_HEADER, DeadLetterProducer, Letter
from consumers.records import to_first_offset
from consumers.refusals import is_refusal
from service.observability import DEAD_LETTERS_WITHOUT_VALUE

# The time of a record that has none: every topic takes it.
NO_TIMESTAMP = -1
_MAX_MESSAGE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class BareLetter(Letter):
    """Sent in place of a letter that its topic refuses: it only says which record that was about,
    and why it is bare. No two share a key, or a compacted topic would keep one of them."""

    refusal: str = ""

    @property
    def key(self) -> bytes:
        offset = to_first_offset(self.record)
        return f"{self.record.topic}[{self.record.partition}]@{offset}".encode()

    @property
    def value(self) -> None:
        return None


class Dispatch:
    """The dead letters of one batch. Each arrives once, whole or bare."""

    def __init__(self, producer: DeadLetterProducer, letters: Sequence[Letter]) -> None:
        self._producer = producer
        self._pending = dict(enumerate(letters))

    async def attempt(self) -> None:
        """Send what has not arrived yet. Raises `KafkaError` where something still has not."""
        sent = list(self._pending.items())
        faults = await self._producer.try_each([letter for _, letter in sent])
        left = None
        refused = []
        for (number, letter), fault in zip(sent, faults, strict=True):
            if fault is None:
                del self._pending[number]
            elif is_refusal(fault):
                refused.append((number, letter))
            else:
                left = fault
        for number, letter in refused:
            # Letters travel together: perhaps it was only another one that was refused.
            fault = await self._send_alone(letter)
            if fault is None:
                del self._pending[number]
            left = fault or left
        if left is not None:
            raise left

    async def _send_alone(self, letter: Letter) -> KafkaError | None:
        """In ever plainer forms; answers why the last one was not taken."""
        fault = await self._send(letter)
        if isinstance(
            fault, InvalidTimestampError
        ):  # this machine's clock, or the broker's, is off
            letter = replace(letter, timestamp_ms=NO_TIMESTAMP)
            fault = await self._send(letter)
        if is_refusal(fault):
            letter = to_bare_letter(letter, fault)
            fault = await self._send(letter)
            if fault is None:
                DEAD_LETTERS_WITHOUT_VALUE.labels(letter.refusal).inc()
        return fault

    async def _send(self, letter: Letter) -> KafkaError | None:
        (fault,) = await self._producer.try_each([letter])
        return fault


def to_bare_letter(letter: Letter, fault: KafkaError) -> BareLetter:
    """Without what may have been too much: the value, the key and the record's own headers."""
    refusal = type(fault).__name__
    ours = {name: value or b"" for name, value in letter.headers if name in ADDED_HEADERS}
    why = ours.get(MESSAGE_HEADER, b"").decode()[:_MAX_MESSAGE_LENGTH]
    ours[MESSAGE_HEADER] = f"{why}; without its value, which the topic refuses: {refusal}".encode()
    return BareLetter(letter.topic, letter.record, list(ours.items()), NO_TIMESTAMP, refusal)
