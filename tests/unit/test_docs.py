"""The pages say what is so: whatever they name exists, and what the code cites stands in them."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

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
