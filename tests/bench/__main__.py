"""`make bench`: every promise of speed as a ratio against what the parts can do by themselves."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import uvloop

from deploy.local.stack import running_stack
from tests.bench import crowd, following, ingest, latency, reads
from tests.bench.client import Target
from tests.bench.measure import Line, Report

PARTS = ("ingest", "emails", "reads", "drivers", "latency", "fairness", "crowd", "following")
RESULTS = Path(".stack/bench")
# Of more activities the stack's cache does not hold the indexes: MongoDB chooses one, half of the
# memory.
LARGE = 1_000_000


@click.group()
def main() -> None:
    """Measure, or compare two measurements."""


@main.command()
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--records",
    default=60_000,
    show_default=True,
    type=click.IntRange(min=10_000),
    help="of one ingest round",
)
@click.option("--sizes", default="10000,1000000", show_default=True, help="activities to read from")
@click.option("--requests", default=400, show_default=True, help="of one read round")
@click.option(
    "--backlog", default=200_000, show_default=True, help="beside which a live event comes"
)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="default: all")
@click.option(
    "--line", "lines", multiple=True, type=click.Choice(list(crowd.LINES)), help="of part crowd"
)
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="a tree of another commit, built in place, to stand beside part crowd's few connections",
)
@click.option("--output", default=RESULTS / "result.json", type=click.Path(path_type=Path))
def run(
    rounds: int,
    records: int,
    sizes: str,
    requests: int,
    backlog: int,
    parts: tuple[str, ...],
    lines: tuple[str, ...],
    base: Path | None,
    output: Path,
) -> None:
    """Measure and print the table; the figures as JSON too."""
    settings = {"rounds": rounds, "records": records, "sizes": sizes, "requests": requests}
    report = Report(settings)
    click.echo(report.heading())
    uvloop.run(_measure(report, parts or PARTS, settings, backlog, lines, base))
    report.write(output)
    click.echo(f"\nwritten to {output}")
    sys.exit(0 if all(line.holds for line in report.lines) else 1)


async def _measure(
    report: Report,
    parts: tuple[str, ...],
    settings: dict[str, Any],
    backlog: int,
    lines: tuple[str, ...],
    base: Path | None,
) -> None:
    logs = Path(tempfile.mkdtemp(prefix="activity-bench-"))
    is_large = max(_sizes(settings)) > LARGE
    async with running_stack(cache_gigabytes=None if is_large else 1) as stack:
        bench = ingest.Bench(stack.mongo.url, stack.kafka.bootstrap_servers, logs)
        rounds, records = settings["rounds"], settings["records"]
        speed = 8000.0
        if "ingest" in parts:
            speed = await ingest.measure_ingest(report, bench, count=records, rounds=rounds)
        if "emails" in parts:
            await ingest.measure_emails(report, bench, count=records, rounds=rounds)
        if {"ingest", "emails"} & set(parts):
            megabytes = [bench.consumer_megabytes]
            report.add(Line("memory of the consumer", "-", "MB", megabytes, [], at_most=200))
        if "latency" in parts:
            await latency.measure_latency(report, bench, ingest_rate=speed, rounds=rounds)
        if "fairness" in parts:
            await latency.measure_fairness(report, bench, backlog=backlog, rounds=rounds)
        if "following" in parts:
            await _measure_following(report, bench, records, rounds)
        if {"reads", "drivers"} & set(parts):
            await _measure_reads(report, bench, parts, settings)
        if "crowd" in parts:
            await crowd.measure_crowd(
                report,
                bench.mongo_url,
                logs,
                count=min(_sizes(settings)),
                lines=lines,
                base=base,
            )
    shutil.rmtree(logs)


async def _measure_following(
    report: Report, bench: ingest.Bench, records: int, rounds: int
) -> None:
    await following.measure_idle(report, bench, rounds=rounds)
    await following.measure_busy(report, bench)
    await following.measure_pushed(report, bench, rounds=rounds)
    await following.measure_ingest(report, bench, count=records, rounds=rounds)


def _sizes(settings: dict[str, Any]) -> list[int]:
    return [int(size) for size in settings["sizes"].split(",")]


async def _measure_reads(
    report: Report, bench: ingest.Bench, parts: tuple[str, ...], settings: dict[str, Any]
) -> None:
    by_size: dict[int, Target] = {}
    async with AsyncExitStack() as stack:
        for count in _sizes(settings):
            store = await stack.enter_async_context(reads.stored(bench.mongo_url, count))
            by_size[count] = await _measure_store(report, bench, parts, settings, store, stack)
        if "reads" in parts:
            sample = {"rounds": settings["rounds"], "times": settings["requests"]}
            await reads.measure_sizes(report, by_size, **sample)


async def _measure_store(
    report: Report,
    bench: ingest.Bench,
    parts: tuple[str, ...],
    settings: dict[str, Any],
    store: reads.Store,
    stack: AsyncExitStack,
) -> Target:
    """The lines of one store; its API goes on, to be asked beside those of other sizes."""
    sample = {"rounds": settings["rounds"], "times": settings["requests"]}
    targets = {}
    for driver in ("pymongo", "motor") if "drivers" in parts else ("pymongo",):
        api, ours, limit = await stack.enter_async_context(
            reads.servers(bench.mongo_url, store, driver, bench.logs)
        )
        targets[driver] = ours
        if driver == "pymongo" and "reads" in parts:
            await reads.measure_reads(report, ours, limit, count=store.count, **sample)
            if store.count > reads.DEPTH_ROWS:
                await reads.measure_depth(report, ours, **sample)
            what, megabytes = f"memory of the API, {store.count:,}", [api.memory_megabytes()]
            report.add(Line(what, "-", "MB", megabytes, [], at_most=150))
    if "drivers" in parts:
        await reads.measure_drivers(report, targets, count=store.count, **sample)
    return targets["pymongo"]


@main.command()
@click.argument("base")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def compare(base: str, options: tuple[str, ...]) -> None:
    """Measure the commit BASE and this tree, and print their ratios side by side."""
    commit = _git("rev-parse", "--short", base)
    tree, old, new = RESULTS / commit, RESULTS / f"{commit}.json", RESULTS / "result.json"
    _git("worktree", "add", "--force", "--detach", str(tree), commit)
    try:
        _run_bench(tree, old.absolute(), options)
    finally:
        _git("worktree", "remove", "--force", str(tree))
    _run_bench(Path(), new.absolute(), options)
    _print_comparison(json.loads(old.read_text()), json.loads(new.read_text()))


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def _run_bench(tree: Path, output: Path, options: tuple[str, ...]) -> None:
    """With the tree's own packages. A line that falls short ends the run with a status, which is no
    reason not to compare."""
    output.unlink(missing_ok=True)
    words = shlex.join(["--output", str(output), *options])
    own = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    subprocess.run(["make", "bench", f"OPTIONS={words}"], check=False, cwd=tree, env=own)


def _print_comparison(base: dict[str, Any], new: dict[str, Any]) -> None:
    before = {_name(line): line for line in base["lines"]}
    click.echo(f"{'what':76} {'base':>7} {'new':>7} {'new/base':>9}")
    for line in new["lines"]:
        if old := before.get(_name(line)):
            change = line["ratio"] / old["ratio"]
            click.echo(f"{_name(line):76} {old['ratio']:7.2f} {line['ratio']:7.2f} {change:9.2f}")


def _name(line: dict[str, Any]) -> str:
    return f"{line['what']} / {line['against']}"


if __name__ == "__main__":
    main()
