"""`check` tells what would become of each event of a file (contract 4)."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result

from consumers.__main__ import main
from consumers.lines import read_lines, size_of
from consumers.records import parse_value
from service.activities.near_misses import find_near_misses
from service.errors import Rejected, StartError
from tests.factories import BAD_RECORDS, activity, deletion, event, record
from tests.unit.test_schemas import damaged_record

MAX_BYTES = 4 * 1024 * 1024
GOOD = record(event())
IGNORED = record({"object_type": "lead"})


def check(*files: Path | str, given: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["check", *map(str, files)], input=given)


def written(folder: Path, *lines: bytes) -> Path:
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_good_events_are_counted(tmp_path: Path) -> None:
    result = check(written(tmp_path, GOOD, b"", IGNORED, record(deletion())))

    assert (result.exit_code, result.output) == (0, "2 applied, 1 ignored, 0 rejected\n")


def test_every_fault_has_its_line_and_place(tmp_path: Path) -> None:
    bad = event({"users": 5, "note": "x"}) | {"id": None}
    path = written(tmp_path, GOOD, record(bad))

    result = check(path)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{path}:2: invalid_event: id: required, an id  (/id)",
        f"{path}:2: invalid_event: data.date_created: required  (/data/date_created)",
        f"{path}:2: invalid_event: data.users: a list of strings  (/data/users)",
        "1 applied, 0 ignored, 1 rejected (1 invalid_event)",
    ]


def test_machines_get_json(tmp_path: Path) -> None:
    odd = activity("Call") | {"duration": "forty two"}
    path = written(tmp_path, record(event() | {"data": None}), GOOD, record(event(odd)))

    result = check("--json", path)

    rejected, warned, summary = map(json.loads, result.stdout.splitlines())
    assert rejected == {
        "file": str(path),
        "line": 1,
        "outcome": "rejected",
        "code": "invalid_event",
        "organization_id": "orga_1",
        "event_id": "ev_1",
        "faults": [{"code": "invalid_event", "pointer": "/data", "reason": "required, an object"}],
    }
    assert (warned["line"], warned["outcome"]) == (3, "applied")
    assert [one["pointer"] for one in warned["warnings"]] == ["/data/duration"]
    assert summary == {
        "summary": {
            "applied": 2,
            "ignored": 0,
            "rejected": 1,
            "codes": {"invalid_event": 1},
            "with_warnings": 1,
        }
    }


def test_codes_are_those_of_the_dead_letters(tmp_path: Path) -> None:
    rng = random.Random(4)
    values = [value for bad in BAD_RECORDS.values() for value in bad]
    values += [damaged_record(rng) for _ in range(2000)]
    values = [value for value in values if value.strip() and b"\n" not in value]

    result = check("--json", written(tmp_path, *values))

    told = {
        row["line"]: row["code"]
        for row in map(json.loads, result.stdout.splitlines())
        if row.get("outcome") == "rejected"
    }
    outcomes = {number: parse_value(value, MAX_BYTES) for number, value in enumerate(values, 1)}
    assert told == {
        number: outcome.code
        for number, outcome in outcomes.items()
        if isinstance(outcome, Rejected)
    }
    assert len(Counter(told.values())) == 7


def test_too_large_is_said_without_keeping_the_line(tmp_path: Path) -> None:
    large = record(event(activity() | {"extra": "x" * (MAX_BYTES + 9)}))

    result = check(written(tmp_path, large, GOOD))

    assert result.exit_code == 1
    assert result.stdout.endswith("1 applied, 0 ignored, 1 rejected (1 too_large)\n")


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        zstandard.compress,
        lambda content: zstandard.compress(content[:100]) + zstandard.compress(content[100:]),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.removesuffix(b"\n"),
    ],
)
def test_files_may_be_packed(tmp_path: Path, pack: Any) -> None:
    content = b"\n".join([GOOD, b"", IGNORED]) + b"\n"
    path = tmp_path / "events"
    path.write_bytes(pack(content))

    lines = list(read_lines(str(path), MAX_BYTES))

    assert [(line.number, line.value) for line in lines] == [(1, GOOD), (3, IGNORED)]


def test_file_of_one_event_may_have_many_lines(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event(), indent=2))

    assert check(path).output == "1 applied, 0 ignored, 0 rejected\n"


def test_progress_adds_up_to_the_size(tmp_path: Path) -> None:
    path = written(tmp_path, *[GOOD] * 50)
    told: list[int] = []

    list(read_lines(str(path), MAX_BYTES, told.append))

    assert sum(told) == size_of((str(path),)) == path.stat().st_size


def test_standard_input_is_a_file_too() -> None:
    result = check("-", given=GOOD + b"\n" + b"{}\n")

    assert result.exit_code == 1
    assert result.stdout.startswith("-:2: invalid_event: object_type: required, a string")


@pytest.mark.parametrize("content", [b"\x1f\x8b damaged", b"\x28\xb5\x2f\xfd damaged", None])
def test_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events"
    if content:
        path.write_bytes(content)

    with pytest.raises(StartError, match="events: "):
        list(read_lines(str(path), MAX_BYTES))
    assert check(path).stderr.startswith(f"Error: {path}: ")


def misses(row: dict[str, Any]) -> dict[str, str]:
    return {miss.pointer: miss.reason for miss in find_near_misses(record(row))}


def test_ordinary_events_are_no_near_misses() -> None:
    assert misses(event()) == {}
    assert misses(deletion(lead_id=None)) == {}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("notes", "note"),
        ("durations", None),
        ("tittle", "title"),
        ("titel", "title"),
        ("titl", "title"),
        ("pinnedAt", "pinned_at"),
        ("custom.cf_note", None),
        ("quite_another", None),
    ],
)
def test_name_that_is_nearly_known_is_told(name: str, meant: str | None) -> None:
    data = activity("Note") | {name: 1}
    data.pop(meant or "", None)

    assert misses(event(data)) == (
        {f"/data/{name}": f"not a known field; {meant} may be meant"} if meant else {}
    )


def test_name_beside_the_one_that_is_meant_is_told_nothing_of() -> None:
    assert misses(event(activity("Note") | {"notes": 1})) == {}


def test_slip_around_the_data_is_told() -> None:
    row = event() | {"date_update": "2026-01-02"}
    del row["date_updated"]

    assert misses(row) == {"/date_update": "not a known field; date_updated may be meant"}


def test_deviations_are_told_with_what_is_meant() -> None:
    data = activity("Meeting") | {"duration": "forty two", "attendees": [{"status": 5}]}

    assert misses(event(data)) == {
        "/data/duration": "a whole number is meant; kept as it came",
        "/data/attendees/0/status": "'noreply', 'yes', 'no' or 'maybe' is meant; kept as it came",
    }


def test_leads_that_differ_and_none_at_all_are_told() -> None:
    none = activity() | {"lead_id": None}

    assert misses(event(lead_id="lead_9")) == {
        "/data/lead_id": "the event says lead_9; lead_1 counts"
    }
    assert misses(event(none)) == {"/data/lead_id": "no lead: it is on no lead's timeline"}
    assert misses(event(none, lead_id="lead_1")) == {}
    assert misses(event(activity("EmailThread") | {"lead_id": None})) == {}
