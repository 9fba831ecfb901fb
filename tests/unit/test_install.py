"""A first install says in one line what it lacks."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON_WITHOUT_NETWORK = f"""#!/bin/sh
case "$*" in
    *"pip install"*) echo "WARNING: retrying" >&2; echo "ERROR: no address" >&2; exit 1 ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


def test_install_without_network_is_one_line(tmp_path: Path) -> None:
    for name in (
        "Makefile",
        "pyproject.toml",
        "requirements-dev.lock",
        "tests/clients/package-lock.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON_WITHOUT_NETWORK)
    python.chmod(0o755)

    made = subprocess.run(
        ["make", "install"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    said = [line for line in made.stderr.splitlines() if not line.startswith("make")]
    assert made.returncode == 2
    assert len(said) == 1
    assert "a first install needs the network (ERROR: no address; see .venv/install.log)" in said[0]
