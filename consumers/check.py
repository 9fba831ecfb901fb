"""`activity-consumers check`: what would become of each event of a file (contract 4)."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from consumers.judgement import Judgement, Summary, judge
from consumers.lines import read_lines
from service.settings import IngestSettings, read_section


@click.command(help="What would become of each line of JSON Lines; - is standard input.")
@click.argument("files", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, the last one the summary.")
def check(files: tuple[str, ...], as_json: bool) -> None:
    max_bytes = read_section(IngestSettings).max_record_bytes
    lines = chain.from_iterable(read_lines(file, max_bytes) for file in files)
    summary = Summary()
    for judgement in judge(lines, max_bytes):
        summary.add(judgement)
        told = [json.dumps(to_json(judgement))] if as_json else tell(judgement)
        if judgement.rejected or judgement.near_misses:
            click.echo("\n".join(told))
    click.echo(json.dumps(summary_to_json(summary)) if as_json else tell_summary(summary))
    if summary.codes:
        raise SystemExit(1)


def tell(judgement: Judgement) -> Iterator[str]:
    """Lines for people: one for each fault, or each warning."""
    place = f"{judgement.line.file}:{judgement.line.number}"
    if judgement.rejected:
        for fault in judgement.rejected.faults:
            yield f"{place}: {judgement.rejected.code}: {fault}  ({fault.pointer or '/'})"
    for miss in judgement.near_misses:
        yield f"{place}: warning: {miss}  ({miss.pointer})"


def to_json(judgement: Judgement) -> dict[str, Any]:
    """The same for machines."""
    found: dict[str, Any] = {
        "file": judgement.line.file,
        "line": judgement.line.number,
        "outcome": judgement.outcome,
    }
    if rejected := judgement.rejected:
        found |= {
            "code": rejected.code,
            "organization_id": rejected.organization_id,
            "event_id": rejected.event_id,
            "faults": [
                {"code": fault.code, "pointer": fault.pointer, "reason": fault.reason}
                for fault in rejected.faults
            ],
        }
    if judgement.near_misses:
        found["warnings"] = [
            {"pointer": miss.pointer, "reason": miss.reason} for miss in judgement.near_misses
        ]
    return found


def tell_summary(summary: Summary) -> str:
    """As in `3 applied (1 with warnings), 1 ignored, 2 rejected (1 invalid_json, 1 id_mismatch)`."""
    applied, ignored, rejected = (
        summary.outcomes[word] for word in ("applied", "ignored", "rejected")
    )
    warned = f" ({summary.warnings} with warnings)" if summary.warnings else ""
    codes = ", ".join(f"{count} {code}" for code, count in summary.codes.most_common())
    return f"{applied} applied{warned}, {ignored} ignored, {rejected} rejected" + (
        f" ({codes})" if codes else ""
    )


def summary_to_json(summary: Summary) -> dict[str, Any]:
    return {
        "summary": {
            **{word: summary.outcomes[word] for word in ("applied", "ignored", "rejected")},
            "codes": dict(summary.codes),
            "with_warnings": summary.warnings,
        }
    }
