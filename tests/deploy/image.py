"""The image without a container engine: the Dockerfile's own steps, in a clean folder.

Every stage in turn lives at the same place, as it does in an engine, with the folder standing for
`/`; so the absolute paths of the Dockerfile are the folder's. A fresh virtual environment stands
for the base image's Python. What this cannot show: the base image itself.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dockerfile

from deploy.local.commands import Command
from deploy.local.prerequisites import install

DOCKERFILE = Path("deploy/Dockerfile")
_PATHS = re.compile(r"(?<![\w.$}-])/(?=(?:build|opt|usr/local)\b)")
_DEBIANS_PYTHON = "/usr/bin/python3"
_PROBE = "import ensurepip, tomllib, sysconfig; open(sysconfig.get_path('include') + '/Python.h')"
_BASE_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Image:
    """What the instructions so far have made."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _BASE_PATH})
    folder: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def rooted(self, text: str) -> str:
        """A shell line or variable with the paths of the image in place of absolute ones."""
        return _PATHS.sub(f"{self.root}/", text)


def instructions() -> Sequence[dockerfile.Command]:
    """The Dockerfile, parsed by the engine's own parser."""
    parsed: Sequence[dockerfile.Command] = dockerfile.parse_file(str(DOCKERFILE))
    return parsed


def build(root: Path) -> Image:
    """Follow the Dockerfile from its first line to its last. Returns its last stage."""
    stages: dict[str, Path] = {}
    image = Image(root)
    for step in instructions():
        match step.cmd:
            case "FROM":
                image = _start_stage(root, stages)
                stages[step.value[-1]] = root
            case "WORKDIR":
                image.folder = step.value[0]
                image.path(image.folder).mkdir(parents=True, exist_ok=True)
            case "RUN":
                _run(image, step.value[0])
            case "COPY":
                _copy(image, step, stages)
            case "ENV":
                _set_variables(image, step.value)
            case "USER":
                image.user = step.value[0]
            case "ENTRYPOINT":
                assert step.json, "a shell would stand between the engine and the process"
                image.entrypoint = step.value
            case "CMD":
                assert step.json
                image.command = step.value
            case "STOPSIGNAL":
                image.stop_signal = step.value[0]
            case "EXPOSE":
                pass
            case _:
                raise NotImplementedError(step.original)
    return image


def _start_stage(root: Path, stages: dict[str, Path]) -> Image:
    """Lay what the last stage made aside, and stand a new one up on the base image."""
    for name, place in stages.items():
        if place == root:
            stages[name] = root.rename(root.with_name(f"{root.name}.{len(stages)}"))
    shutil.copytree(_base_image(root.with_name("base")), root, symlinks=True)
    return Image(root)


def _base_image(root: Path) -> Path:
    python = root / "usr/local"
    if not python.exists():
        subprocess.run([_find_python(), "-m", "venv", python], check=True)
        next(python.glob("lib/python3.*")).joinpath("ensurepip").mkdir()
    return root


def _find_python() -> str:
    """A Python that the image's user can run, with its headers; one in root's home is none."""
    (user,) = (step.value[0] for step in instructions() if step.cmd == "USER")
    for python in (sys.executable, _DEBIANS_PYTHON):
        probe = [*become(user), python, "-c", _PROBE]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return python
    for package in ("python3-venv", "python3-dev"):
        install(package, "the image is built with a Python that every user can run")
    return _DEBIANS_PYTHON


def become(user: str) -> tuple[str, ...]:
    """In front of a command: run it as the image's user, where root may do so."""
    if os.geteuid() != 0:
        return ()
    uid, gid = user.split(":")
    # What setpriv starts is still found with root's rights; what that starts, no longer.
    return ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "env")


def _run(image: Image, line: str) -> None:
    inherited = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
    done = subprocess.run(
        ["/bin/sh", "-c", image.rooted(line)],
        cwd=image.path(image.folder),
        env={**inherited, "HOME": os.environ["HOME"], **_rooted_variables(image)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def _copy(image: Image, step: dockerfile.Command, stages: Mapping[str, Path]) -> None:
    *sources, target = step.value
    (origin,) = [flag.partition("=")[2] for flag in step.flags] or [""]
    context = stages[origin] if origin else Path()
    into = image.path(target) if target.startswith("/") else image.path(image.folder) / target
    for source in sources:
        place = context / source.lstrip("/")
        if place.is_dir():
            ignored = None if origin else shutil.ignore_patterns(*_ignored_everywhere())
            shutil.copytree(place, into, symlinks=True, ignore=ignored)
        else:
            shutil.copy(place, into)


def _ignored_everywhere() -> list[str]:
    """The names that `Dockerfile.dockerignore` ignores in any folder."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    return [line.removeprefix("**/") for line in lines if line.startswith("**/")]


def _set_variables(image: Image, pairs: Sequence[str]) -> None:
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        image.environment[name] = value.replace("$PATH", image.environment["PATH"])


def _rooted_variables(image: Image) -> dict[str, str]:
    return {name: image.rooted(value) for name, value in image.environment.items()}


class Container(Command):
    """A process of the image: its entry point and user, `arguments` in place of its command.

    The working folder and everything of the image is read-only. Where the tests do not run as
    root they cannot become the image's user, and stay their own.
    """

    name = "The container"

    def __init__(
        self, image: Image, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        super().__init__(folder, environment)
        self.arguments = arguments or image.command
        self._image = image

    async def _prepare(self) -> Sequence[str | Path]:
        return self.command()

    def command(self) -> list[str | Path]:
        return [
            "/usr/bin/env",
            f"--chdir={self._image.path(self._image.folder)}",
            *become(self._image.user),
            *self._image.entrypoint,
            *self.arguments,
        ]

    def _environment(self) -> Mapping[str, str]:
        ports = {"ACTIVITY_OPERATIONS_PORT": str(self.operations_port)}
        return {**_rooted_variables(self._image), **self._settings, **ports}

    def run_to_its_end(self) -> subprocess.CompletedProcess[str]:
        """For an argument list that ends by itself."""
        return subprocess.run(
            [str(part) for part in self.command()],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
