"""`make sanitize`: the compiled modules under the address and undefined-behaviour sanitizers.

A copy of the tree is built without optimizations that hide faults, every warning of the compiler an
error, and what the modules are held against runs on it. Where something is read or written outside
its object, or has no defined meaning, the run ends there and says where.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = ROOT / "build" / "sanitize"
COPIED = ("service", "consumers", "tests", "deploy/local", "examples")
SANITIZERS = "-fsanitize=address,undefined"
COMPILE_ARGS = [
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wsign-compare",
    "-Werror",
    SANITIZERS,
    "-fno-sanitize-recover=undefined",
]
TESTS = (
    "tests/unit/test_datetimes.py",
    "tests/unit/test_decoding.py",
    "tests/unit/test_encoding.py",
    "tests/unit/test_events.py",
    "tests/unit/test_events_against_model.py",
    "tests/unit/test_fields.py",
    "tests/unit/test_limits.py",
    "tests/unit/test_scanning.py",
    "tests/unit/test_transcoding.py",
    "tests/unit/test_validation.py",
)
_PROOF = (
    "import service.bson.encoding as one, pathlib;"
    "assert pathlib.Path(one.__file__).is_relative_to(pathlib.Path.cwd()), one.__file__"
)


def main() -> int:
    _copy()
    _build()
    return _run(sys.argv[1:] or TESTS)


def _copy() -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    for name in COPIED:
        ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(ROOT / name, COPY / name, ignore=ignored)
    (COPY / "README.md").touch()
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    arguments = f"extra-compile-args = {COMPILE_ARGS}"
    sanitized, count = re.subn(
        r"^extra-compile-args = .*$", arguments, pyproject, flags=re.MULTILINE
    )
    assert count == len(list(COPY.glob("service/*/*.pyx")))
    (COPY / "pyproject.toml").write_text(sanitized, encoding="utf-8")


def _build() -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from setuptools import setup; setup()",
            "-q",
            "build_ext",
            "--inplace",
        ],
        cwd=COPY,
        env={**os.environ, "LDFLAGS": SANITIZERS, "PYTHONWARNINGS": "ignore"},
        check=True,
    )


def _run(tests: tuple[str, ...] | list[str]) -> int:
    """Python itself has no sanitizers, so the loader brings them before it. Its own allocator hides
    what lies beside an object, so each object has a block of its own. Leaks are not looked for: it
    frees little at its end."""
    libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    for command in (
        ["-c", _PROOF],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys", *tests],
    ):
        status = subprocess.run([sys.executable, *command], cwd=COPY, env=environment, check=False)
        if status.returncode:
            return status.returncode
    return 0


def _library(name: str) -> str:
    compiler = os.environ.get("CC", "gcc").split()
    found = subprocess.run(
        [*compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
