import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.processes import find_free_port
from deploy.local.stack import Mongo as MongoChoice
from tests.conftest import Topics
from tests.deploy import manifests
from tests.deploy.image import DOCKERFILE, Container, Image, build, instructions


@pytest.fixture(scope="module", name="image")
def _image() -> Iterator[Image]:
    # Not below pytest's own folders: the image's user could not look into them.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        image = build(Path(folder) / "image")
        subprocess.run(["chmod", "-R", "a-w", image.root], check=True)
        yield image
        subprocess.run(["chmod", "-R", "u+w", image.root], check=True)


@pytest.fixture(name="environment")
def _environment(mongo_server: MongoChoice, topics: Topics, database_name: str) -> dict[str, str]:
    return {
        "ACTIVITY_MONGO_URL": mongo_server.url,
        "ACTIVITY_MONGO_DATABASE": database_name,
        "ACTIVITY_CURSOR_SECRET": "a secret of this test alone",
        "ACTIVITY_HTTP_PORT": str(find_free_port()),
        **topics.environment(),
    }


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_base_is_slim_and_pinned() -> None:
    """What is compiled for one Python runs on that one."""
    builder, base = (step.value[0] for step in instructions() if step.cmd == "FROM")

    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    assert builder == base.replace("-slim", "")


def test_only_hashed_packages_are_installed() -> None:
    installs = [
        line
        for step in instructions()
        if step.cmd == "RUN"
        for line in step.value[0].split("&&")
        if " install " in line
    ]

    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line


def test_the_image_ignores_all_but_what_it_copies() -> None:
    allowed = {
        line.removeprefix("!")
        for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for step in instructions()
        if step.cmd == "COPY" and not step.flags
        for source in step.value[:-1]
    }

    assert copied == allowed


def test_the_image_holds_no_build_tools(image: Image) -> None:
    names = {path.name for path in image.root.rglob("*")}

    assert names & {"pip", "setuptools", "wheel", "ensurepip", "Cython"} == set()
    for kind in ("pyx", "pxd", "c"):
        assert not [*image.root.glob(f"**/service/**/*.{kind}")]
    compiled = {path.name.partition(".")[0] for path in image.root.glob("**/service/**/*.so")}
    assert compiled == {path.stem for path in Path("service").glob("**/*.pyx")}
    assert not image.path("/build").exists()
    assert image.path("/opt/activity/bin/activity-service").exists()
    assert image.path("/opt/activity/bin/activity-consumers").exists()


def test_the_image_runs_as_the_user_of_the_cluster(image: Image) -> None:
    context = manifests.pod(manifests.workloads("production")[0])["securityContext"]

    assert image.user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert image.stop_signal == "SIGTERM"
    assert (*image.entrypoint, *image.command) == ("python", "-m", "service", "serve")


async def test_the_image_serves_without_writing(
    image: Image, environment: Mapping[str, str], tmp_path: Path
) -> None:
    arguments = {
        container["name"]: container["args"]
        for workload in manifests.workloads("development")
        for container in manifests.containers(workload)
    }
    indexes = Container(image, arguments["indexes"], tmp_path / "indexes", environment)
    running = [
        Container(image, arguments["consumers"], tmp_path / "consumers", environment),
        Container(image, (), tmp_path / "api", environment),
    ]
    before = sorted(image.root.rglob("*"))

    done = await asyncio.to_thread(indexes.run_to_its_end)
    await asyncio.gather(*(container.start() for container in running))
    users = {Path(f"/proc/{container.pid}").stat().st_uid for container in running}
    statuses = [await container.stop() for container in running]

    assert done.returncode == 0, done.stderr
    assert users == {_user(image)}
    assert statuses == [0, 0]
    assert sorted(image.root.rglob("*")) == before
    owners = {path.stat().st_uid for path in Path(tempfile.gettempdir()).iterdir()}
    assert int(image.user.split(":")[0]) not in owners


def _user(image: Image) -> int:
    return int(image.user.split(":")[0]) if os.geteuid() == 0 else os.geteuid()
