"""The pages say what is so: whatever they name exists, and what the code cites stands in them."""

import re
import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest
from prometheus_client import REGISTRY

from consumers.__main__ import main as consumers
from docs.tables import PAGES, TABLES, render
from service.__main__ import main as service
from service.errors import RejectionCode
from service.settings import SECTIONS

ROOT = Path(__file__).parents[2]
BOOKS = ("contract", "design")
_CITATION = re.compile(r"\b(contract|design)\s+(?:#\s+)?(\d+(?:\.\d+)*)")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


@cache
def tracked_files() -> tuple[Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


def sections_of(text: str) -> set[str]:
    """The numbered headings, and the items of numbered lists as sections of theirs."""
    found, heading = set(), ""
    for line in text.splitlines():
        if match := re.match(r"#+ (\d+(?:\.\d+)*)\.? ", line):
            found.add(heading := match[1])
        elif match := re.match(r"(\d+)\. ", line):
            found.add(f"{heading}.{match[1]}")
    return found


def anchors_of(text: str) -> set[str]:
    """The names by which headings can be linked to, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def is_link_alive(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True  # another's page
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not anchor or anchor in anchors_of(read(target)))


@pytest.mark.parametrize("book", BOOKS)
def test_every_cited_section_is_there(book: str) -> None:
    known = sections_of(read(ROOT / "docs" / f"{book}.md"))

    cited = {
        (path.relative_to(ROOT).as_posix(), section)
        for path in tracked_files()
        for name, section in _CITATION.findall(read(path))
        if name == book
    }
    assert cited
    assert {(path, section) for path, section in cited if section not in known} == set()


def test_every_link_leads_somewhere() -> None:
    links = [(page, link) for page in pages() for link in _LINK.findall(read(page))]

    dead = [
        f"{page.relative_to(ROOT)}: {link}" for page, link in links if not is_link_alive(page, link)
    ]
    assert links
    assert dead == []


# --- tables that the code knows ---------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_as_the_code_has_them(name: str) -> None:
    page = read(ROOT / name)

    assert render(page) == page, "run `make docs` and commit what it writes"


def test_every_table_is_shown_once() -> None:
    shown = Counter(
        name
        for page in PAGES
        for name in re.findall(r"<!-- table: ([\w ]+) -->", read(ROOT / page))
    )

    assert shown == Counter(dict.fromkeys(TABLES, 1))


def test_every_folder_of_tests_says_what_it_starts() -> None:
    folders = {path.parent for path in (ROOT / "tests").glob("*/__init__.py")}

    rows = re.findall(r"^\| `(tests/\w+)` \|", read(ROOT / "CONTRIBUTING.md"), re.MULTILINE)
    assert sorted(rows) == sorted(path.relative_to(ROOT).as_posix() for path in folders)


def test_every_code_of_a_dead_letter_is_explained_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", read(ROOT / "docs/events.md"), re.MULTILINE)

    counted = Counter(row for row in rows if row in get_args(RejectionCode))
    assert counted == Counter(dict.fromkeys(get_args(RejectionCode), 1))


def test_every_dependency_has_a_reason_beside_it() -> None:
    text = read(ROOT / "pyproject.toml")
    project = tomllib.loads(text)
    names = [*project["project"]["dependencies"], *project["dependency-groups"]["development"]]

    assert [one for one in names if not re.search(rf'"{re.escape(one)}",  # \w', text)] == []


# --- what pages name --------------------------------------------------------------------------------


def code_of(page: Path) -> list[str]:
    """What stands between backticks, and each line of a fence."""
    text = read(page)
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [*inline, *(line for fence in fences for line in fence.splitlines())]


def named(pattern: str) -> set[tuple[str, str]]:
    """Page and name, of whatever the pages name so."""
    return {
        (page.relative_to(ROOT).as_posix(), name)
        for page in pages()
        for code in code_of(page)
        for name in re.findall(pattern, code)
    }


def test_every_path_named_exists() -> None:
    top = "tests|service|consumers|deploy|docs|examples"
    paths = named(rf"^((?:{top})/[\w./-]*)$")

    assert paths
    assert {(page, path) for page, path in paths if not (ROOT / path).exists()} == set()


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    used = named(r"^make ((?:[a-z-]+ ?)+)")

    assert used
    assert {
        (page, one) for page, names in used for one in names.split() if one not in targets
    } == set()


@pytest.mark.parametrize(
    ("program", "group"), [("activity-service", service), ("activity-consumers", consumers)]
)
def test_every_command_named_exists(program: str, group: click.Group) -> None:
    used = named(rf"{program} ([a-z][a-z -]*)")

    assert used
    assert {(page, words) for page, words in used if not is_command(group, words.split())} == set()


def is_command(group: click.Group, words: list[str]) -> bool:
    """Whether the first words are a command, or a group and one of its commands."""
    command = group.commands.get(words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        return words[1] in command.commands
    return command is not None


# The changelog tells operators to remove them.
SETTINGS_OF_FORMER_VERSIONS = {"ACTIVITY_MAX_REQUESTS_IN_FLIGHT", "ACTIVITY_MAX_REQUESTS_WAITING"}


def test_every_setting_named_is_one() -> None:
    known = {variable for section in SECTIONS for variable in section.variables()}
    known |= SETTINGS_OF_FORMER_VERSIONS
    used = named(r"\b(ACTIVITY_[A-Z_]*[A-Z])\b")

    unknown = {
        (page, name)
        for page, name in used
        if name.removesuffix("_FILE") not in known
        and not any(variable.startswith(f"{name}_") for variable in known)
    }
    assert used
    assert unknown == set()


def test_every_metric_named_is_one() -> None:
    exposed = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    declared = {family.name for family in REGISTRY.collect()} | exposed
    declared |= {f"{name}_total" for name in declared}
    used = named(r"\b(activity_(?:http|store|records|lag|batch|bytes|dead|ready|retries)\w*)\b")

    assert used
    assert {(page, name) for page, name in used if name not in declared} == set()
