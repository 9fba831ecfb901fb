"""The manifests as Kubernetes would read them: rendered, and checked against the schemas.

Custom resources have no core schema; the models generated from their operators' own definitions
stand in for it.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus

from deploy.rendering import Manifest, render

OVERLAYS = ("development", "production", "production-small")
# The oldest one with a sleeping preStop hook, and the newest one that the validator knows.
KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())
MODELS = {
    ("keda.sh/v1alpha1", "ScaledObject"): keda.ScaledObject,
    ("keda.sh/v1alpha1", "TriggerAuthentication"): keda.TriggerAuthentication,
    ("monitoring.coreos.com/v1", "PodMonitor"): prometheus.PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): prometheus.PrometheusRule,
}

# Operators for whose resources no package has models: what ours may hold of them, and nothing else.
SCHEMAS = {
    (schema["apiVersion"], schema["kind"]): schema["schema"]
    for schema in yaml.safe_load_all(Path(__file__).with_name("schemas.yaml").read_text())
}


def validate(manifest: Manifest) -> None:
    """Raises where the object, or one key of it, is not in the schema of its kind."""
    # Many renderings hold the same object.
    _validate(json.dumps(manifest, sort_keys=True, default=str))


@cache
def _validate(text: str) -> None:
    manifest = json.loads(text)
    kind = (manifest["apiVersion"], manifest["kind"])
    if kind in MODELS:
        MODELS[kind].model_validate(manifest, extra="forbid", by_alias=True, by_name=False)
        return
    if kind in SCHEMAS:
        jsonschema.validate(manifest["spec"], SCHEMAS[kind])
        return
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in render(overlay) if manifest["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Manifest:
    (manifest,) = (m for m in of_kind(overlay, kind) if m["metadata"]["name"] == name)
    return manifest


def workloads(overlay: str) -> list[Manifest]:
    """Those of our own image."""
    return [
        workload
        for workload in of_kind(overlay, "Deployment", "StatefulSet", "Job")
        if "activity-service" in container(workload)["image"]
    ]


def processes(overlay: str) -> list[Manifest]:
    """The workloads that run for ever."""
    return [workload for workload in workloads(overlay) if workload["kind"] != "Job"]


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> Manifest:
    """The one that stays."""
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def containers(workload: Manifest) -> list[Manifest]:
    """All of a pod, those that end before the others start first."""
    return [*pod(workload).get("initContainers", []), container(workload)]


def settings(overlay: str, workload: Manifest) -> dict[str, str]:
    """The variables that a workload's containers are given through ConfigMaps, later ones winning."""
    variables: dict[str, str] = {}
    sources = container(workload)["envFrom"]
    assert all(one["envFrom"] == sources for one in containers(workload))
    for source in sources:
        variables |= named(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    return variables


def leaves(node: Any) -> Iterator[Any]:
    """Every scalar below a node."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from leaves(child)
    else:
        yield node
