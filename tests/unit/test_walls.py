"""Walls that import-linter does not see, since it reads no Cython."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("service/*/*.p[yx][xd]"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_what_is_compiled_knows_its_own_folder_alone(path: Path) -> None:
    found = re.findall(r"^(?:from|c?import) (service\.\w+)", path.read_text(), re.MULTILINE)

    assert set(found) <= {f"service.{path.parent.name}"}


def test_compiled_sources_are_found() -> None:
    assert {path.suffix for path in SOURCES} == {".pyx", ".pxd"}
