"""`make release VERSION=`: one version everywhere, wheel and sdist built twice and equal, what is in it.

The version is kept in `pyproject.toml`; the places that repeat it, since Kubernetes, Compose and Helm
cannot ask, are a table here, which a test holds against it. Run it on a clean tree; it leaves `dist/`
and the changed files, to be looked at, committed and tagged by a person.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

ROOT = Path(__file__).parents[1]
DISTRIBUTION = ROOT / "dist"
VERSION = r"\d+\.\d+\.\d+"
_IMAGE = rf"(activity-service:)({VERSION})"
_TAG = rf"(newTag: )({VERSION})"
# File to the texts that hold the version, as their second group.
PLACES: dict[str, str] = {
    "pyproject.toml": rf'(?m)(^version = ")({VERSION})',
    "deploy/README.md": _IMAGE,
    "deploy/chart/Chart.yaml": rf"(?m)(^(?:appV|v)ersion: )({VERSION})",
    "deploy/compose.yaml": _IMAGE,
    "deploy/kubernetes/base/api/deployment.yaml": _IMAGE,
    "deploy/kubernetes/base/consumers/statefulset.yaml": _IMAGE,
    "deploy/kubernetes/overlays/development/README.md": _IMAGE,
    "deploy/kubernetes/overlays/production-small/kustomization.yaml": _TAG,
    "deploy/kubernetes/overlays/production/kustomization.yaml": _TAG,
}
_LOCKED = re.compile(
    r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\\n((?:    --hash=sha256:\w+(?: \\)?\n)+)", re.M
)


class NotReleasable(click.ClickException):
    """What must be mended before a version can go out."""


def current_version() -> str:
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def differing(version: str) -> list[str]:
    """Every place that says another version, or none."""
    return [
        name
        for name, pattern in PLACES.items()
        if {found[1] for found in re.findall(pattern, (ROOT / name).read_text())} != {version}
    ]


def set_version(version: str) -> None:
    for name, pattern in PLACES.items():
        path = ROOT / name
        path.write_text(re.sub(pattern, rf"\g<1>{version}", path.read_text()))
    if places := differing(version):
        raise NotReleasable(f"no version is found in {', '.join(places)}")


def check_changelog(version: str) -> None:
    """Raises `NotReleasable` where the changelog does not begin with this version."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if headings[0] != version:
        raise NotReleasable(
            f"CHANGELOG.md begins with {headings[0]!r}: let it begin with `## {version}`, and say"
            " what operators must do"
        )


def build(epoch: int, folder: Path) -> list[Path]:
    """Wheel and sdist of the tree as git knows it, in a folder of their own."""
    source = folder / "source"
    source.mkdir(parents=True)
    listed = _run("git", "ls-files", "-z").split("\0")
    for name in filter(None, listed):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    made = folder / "dist"
    made.mkdir()
    _build("sdist", source, made, epoch)
    (archive,) = made.glob("*.tar.gz")
    archive.write_bytes(same_archive(archive.read_bytes(), epoch))
    # The wheel is built from the archive, which so is seen to be whole.
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    _build("wheel", folder / archive.name.removesuffix(".tar.gz"), made, epoch)
    return sorted(made.iterdir())


def _build(kind: str, source: Path, target: Path, epoch: int) -> None:
    call = f"import setuptools.build_meta as b; b.build_{kind}({str(target)!r})"
    _run(sys.executable, "-c", call, cwd=source, SOURCE_DATE_EPOCH=str(epoch))


def same_archive(archive: bytes, epoch: int) -> bytes:
    """The files of a .tar.gz in order, without who packed them and when."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(packed.getvalue(), mtime=epoch)


def bill_of_materials(version: str, epoch: int) -> dict[str, Any]:
    """What the image's processes are made of, from the lock file, as CycloneDX 1.6.

    The number is made from the content: the same release has the same document.
    """
    components = [*_components((ROOT / "requirements.lock").read_text())]
    content = json.dumps([version, components]).encode()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=4)}",
        "version": 1,
        "metadata": {
            "timestamp": f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "component": {
                "type": "application",
                "bom-ref": "activity-service",
                "name": "activity-service",
                "version": version,
            },
        },
        "components": components,
        "dependencies": [
            {"ref": "activity-service", "dependsOn": [one["bom-ref"] for one in components]},
        ],
    }


def _components(lock: str) -> Iterator[dict[str, Any]]:
    """The hashes of the lock are of a package's files, of which one is installed."""
    for name, version, hashes in _LOCKED.findall(lock):
        url = f"pkg:pypi/{name}@{version}"
        files = [
            {"type": "distribution", "url": url, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for digest in re.findall(r"sha256:(\w+)", hashes)
        ]
        yield {
            "type": "library",
            "bom-ref": url,
            "name": name,
            "version": version,
            "purl": url,
            "externalReferences": files,
        }


def _run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(  # noqa: S603 our own commands
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotReleasable(f"{' '.join(command[:3])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


@click.command(help="Set the version everywhere, build twice, compare, and list what is in it.")
@click.argument("version")
def main(version: str) -> None:
    if not re.fullmatch(VERSION, version):
        raise NotReleasable("a version is like 1.2.3")
    check_changelog(version)
    set_version(version)
    epoch = int(_run("git", "log", "-1", "--format=%ct"))
    with TemporaryDirectory() as folder:
        first, second = (build(epoch, Path(folder) / name) for name in ("first", "second"))
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                raise NotReleasable(f"{one.name} differs between two builds")
        DISTRIBUTION.mkdir(exist_ok=True)
        made = [Path(shutil.copy(path, DISTRIBUTION)) for path in first]
    bill = DISTRIBUTION / f"activity-service-{version}.cdx.json"
    bill.write_text(json.dumps(bill_of_materials(version, epoch), indent=2) + "\n")
    for path in (*made, bill):
        click.echo(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")


if __name__ == "__main__":
    main()
