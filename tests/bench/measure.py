"""Two things against each other, alternating in one run; the answer is a ratio.

A machine is noisy, so no time stands alone: each round measures both sides, one after the other,
in an order that swaps, and the table shows the median and the spread of the rounds' ratios.
"""

import json
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

Measured = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    `ratios` are ours over the limit's, by rounds, so that more is better; with `at_most`, less is
    better and the value itself is what is asked for. `unit` is of `ours` and `limit`.
    """

    what: str
    against: str
    unit: str
    ours: list[float]
    limit: list[float]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        if not self.limit:
            return self.ours
        return [ours / limit for ours, limit in zip(self.ours, self.limit, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def holds(self) -> bool:
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )


@dataclass(slots=True)
class Report:
    """All lines of one run, and what they were measured on."""

    settings: dict[str, Any]
    lines: list[Line] = field(default_factory=list)
    machine: dict[str, str] = field(
        default_factory=lambda: {
            "date": datetime.now(UTC).date().isoformat(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            **{name: version(name) for name in ("aiohttp", "aiokafka", "motor", "pymongo")},
        }
    )

    def add(self, line: Line) -> None:
        self.lines.append(line)
        sys.stdout.write(_row(line) + "\n")
        sys.stdout.flush()

    def write(self, path: Path) -> None:
        lines = [asdict(line) | {"ratio": line.ratio, "holds": line.holds} for line in self.lines]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {"machine": self.machine, "settings": self.settings, "lines": lines}, indent=1
            )
        )

    def heading(self) -> str:
        facts = {**self.machine, **self.settings}
        return (
            "  ".join(f"{name}={value}" for name, value in facts.items())
            + f"\n\n{'':4} {'what':58} {'ours':>10} {'limit':>10} {'unit':9}"
            + f" {'ratio':>6} {'spread':>13} {'asked':>7}"
        )


def _row(line: Line) -> str:
    limit = f"{statistics.median(line.limit):10.1f}" if line.limit else f"{'':10}"
    asked = f">={line.at_least}" if line.at_least is not None else f"<={line.at_most}"
    asked = asked if line.at_least is not None or line.at_most is not None else ""
    return (
        f"{'ok' if line.holds else 'LOW':4} {line.what + ' / ' + line.against:58}"
        f" {statistics.median(line.ours):10.1f} {limit} {line.unit:9} {line.ratio:6.2f}"
        f" {min(line.ratios):6.2f}-{max(line.ratios):<6.2f} {asked:>7} {line.note}"
    )


async def alternate(rounds: int, *sides: Measured, warm: bool = True) -> list[list[float]]:
    """Each side's figures by round. The order turns, so that no side always goes first."""
    figures: list[list[float]] = [[] for _ in sides]
    if warm:
        for side in sides:
            await side()
    for number in range(rounds):
        order = [(place + number) % len(sides) for place in range(len(sides))]
        for place in order:
            figures[place].append(await sides[place]())
    return figures


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
