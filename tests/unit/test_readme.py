"""The README says what is so."""

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from service.settings import SECTIONS, Section

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    rows = [
        f"| `{variable}` | {default_of(section, field)} | {section.model_fields[field].description} |"
        for section in SECTIONS
        for variable, field in section.variables().items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def default_of(section: type[Section], field: str) -> str:
    default: Any = section.model_fields[field].default
    if default is PydanticUndefined:
        return "none, required by `serve`"
    if default in (None, ()):
        return "none"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    return f"`{','.join(default)}`" if isinstance(default, tuple) else f"`{default}`"


def test_settings_table_is_the_settings() -> None:
    expected = settings_table()

    assert expected in README, f"put this into the README:\n{expected}"


def test_make_targets_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets


def test_files_named_exist() -> None:
    named = re.findall(r"`((?:tests|service|consumers|deploy)/[\w/.-]+)`", README)

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_dependency_has_a_reason() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = pyproject.split("dependencies = [")[1].split("]\n")[0]
    names = re.findall(r'"([a-z-]+)', block)

    decisions = README.split("## Decisions")[1]
    assert [name for name in names if f"`{name}`" not in decisions] == []
