"""What would become of a record, by the consumer's own code."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from consumers.lines import Line
from consumers.records import parse_value
from service.activities.events import Ignored
from service.activities.near_misses import NearMiss, find_near_misses
from service.errors import Rejected
from service.store.writes import EncodedChange

Word = Literal["applied", "ignored", "rejected"]


class Judgement(NamedTuple):
    """`change` and what is odd about it where it is applied, `rejected` where it never will be."""

    line: Line
    outcome: Word
    change: EncodedChange | None = None
    rejected: Rejected | None = None
    near_misses: Sequence[NearMiss] = ()


@dataclass(slots=True)
class Summary:
    """How many lines came to what; rejected ones also by code, applied ones with warnings."""

    outcomes: Counter[Word] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    warnings: int = 0

    def add(self, judgement: Judgement) -> None:
        self.outcomes[judgement.outcome] += 1
        if judgement.rejected:
            self.codes[judgement.rejected.code] += 1
        self.warnings += bool(judgement.near_misses)


def judge(lines: Iterable[Line], max_bytes: int) -> Iterator[Judgement]:
    """What would become of each line. Asks no server, so MongoDB's own refusals are not foreseen."""
    for line in lines:
        outcome = parse_value(line.value, max_bytes)
        if isinstance(outcome, Rejected):
            yield Judgement(line, "rejected", rejected=outcome)
        elif isinstance(outcome, Ignored):
            yield Judgement(line, "ignored")
        else:
            misses = find_near_misses(line.value)
            yield Judgement(line, "applied", change=outcome, near_misses=misses)
