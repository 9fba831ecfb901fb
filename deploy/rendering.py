"""The Kubernetes objects of an overlay, by the very kubectl that the lock file names."""

import shutil
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

KUBERNETES = Path(__file__).with_name("kubernetes")

Manifest = dict[str, Any]


@cache
def render(overlay: str) -> tuple[Manifest, ...]:
    """Every object of an overlay."""
    return build(KUBERNETES / "overlays" / overlay)


@cache
def render_with(
    overlay: str, *components: str, without: Collection[str] = ()
) -> tuple[Manifest, ...]:
    """Every object of an overlay to whose components some have been added, as an operator does."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        path = copy / "overlays" / overlay / "kustomization.yaml"
        kustomization = yaml.safe_load(path.read_text())
        kustomization["components"] = [
            place
            for place in kustomization["components"]
            if place.rpartition("/")[2] not in without
        ] + [f"../../components/{name}" for name in components]
        path.write_text(yaml.safe_dump(kustomization))
        return build(path.parent)


def build(folder: Path) -> tuple[Manifest, ...]:
    """Every object of a folder with a kustomization. Raises `RuntimeError` with what kustomize has to
    say against it, warnings included."""
    kubectl = Path(sys.executable).with_name("kubectl")
    rendered = subprocess.run(  # noqa: S603 our own command
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    if rendered.returncode or rendered.stderr:
        raise RuntimeError(f"{folder}: {rendered.stderr}")
    return tuple(yaml.safe_load_all(rendered.stdout))
