"""The examples are what the models say, and every one of them is applied (contract 1.7)."""

import json
from pathlib import Path

import pytest

from deploy.local.documents import documents
from service.activities.checks import find_deviations
from service.activities.events import Change, parse_event
from service.activities.examples import conversation, deletion, example_event
from service.activities.types import TYPES, ActivityType
from tests import model
from tests.unit.test_events_against_model import assert_read_alike

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

each_type = pytest.mark.parametrize("row", TYPES, ids=lambda row: row.name)


def records() -> list[bytes]:
    """Every record in the folder."""
    found = []
    for path in sorted(EXAMPLES.iterdir()):
        content = path.read_bytes()
        found += content.splitlines() if path.suffix == ".jsonl" else [content]
    return found


def parse(value: bytes) -> Change:
    change = parse_event(value)
    assert isinstance(change, Change)
    return change


@pytest.mark.parametrize(
    ("path", "content"), list(documents()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_files_are_written_anew(path: str, content: bytes) -> None:
    assert (ROOT / path).read_bytes() == content, "run `make schemas` and commit what it writes"


def test_nothing_else_is_in_the_folder() -> None:
    written = {ROOT / path for path, _ in documents()}

    assert [path for path in EXAMPLES.iterdir() if path not in written] == []


@pytest.mark.parametrize("value", records())
def test_every_example_is_applied_without_deviations(value: bytes) -> None:
    change = parse(value)

    assert change.deviations == ()
    assert_read_alike(value)


@each_type
def test_every_type_has_an_example_of_its_own(row: ActivityType) -> None:
    example = json.loads((EXAMPLES / f"{row.object_type}.json").read_bytes())

    assert example["object_type"] == row.object_type
    assert example["data"]["_type"] == row.name


@each_type
def test_examples_show_no_field_that_is_not_known(row: ActivityType) -> None:
    known = {field.alias or name for name, field in row.model.model_fields.items()}
    data = example_event(row.name)["data"]

    assert {name for name in data if not name.startswith("custom.")} <= known
    assert find_deviations(row, {"_type": row.name}) == ()


def test_emails_out_of_order_make_one_thread_with_its_summary() -> None:
    oracle = model.Model()
    for value in (EXAMPLES / "conversation.jsonl").read_bytes().splitlines():
        assert oracle.apply(value) == "applied"
    assert oracle.apply((EXAMPLES / "activity.email_thread.json").read_bytes()) == "applied"

    ((_, thread),) = oracle.threads("orga_demo").items()
    assert thread["n_emails"] == 3
    assert thread["summary"]["status"] == "success"


def test_emails_of_the_conversation_come_newest_first() -> None:
    dates = [event["date_created"] for event in conversation()]

    assert dates == sorted(dates, reverse=True)


def test_deletion_deletes_the_note() -> None:
    note, deleted = (
        parse(json.dumps(event).encode()) for event in (example_event("Note"), deletion())
    )

    assert (deleted.id, deleted.activity) == (note.id, None)
    assert deleted.revision > note.revision
