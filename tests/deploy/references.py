"""A walk from object to object: what one asks of another must be there, by name, port and key.

`secrets` are what the pages tell an operator to make: name to keys.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deploy.rendering import Manifest
from tests.deploy.manifests import container, containers, pod

Secrets = Mapping[str, set[str]]


class Cluster:
    """The objects of one installation, to be looked up as Kubernetes would."""

    def __init__(self, objects: Sequence[Manifest], secrets: Secrets) -> None:
        self.objects = objects
        self.secrets = secrets
        self.workloads = [o for o in objects if o["kind"] in ("Deployment", "StatefulSet", "Job")]

    def find(self, kind: str, name: str) -> Manifest | None:
        return next(
            (o for o in self.objects if (o["kind"], o["metadata"]["name"]) == (kind, name)), None
        )

    def selected(self, selector: Mapping[str, Any]) -> list[Manifest]:
        """The workloads whose pods a selector means."""
        return [
            workload
            for workload in self.workloads
            if _matches(selector, workload["spec"]["template"]["metadata"].get("labels", {}))
        ]

    def settings(self, workload: Manifest) -> dict[str, str]:
        maps = [
            self.find("ConfigMap", source["configMapRef"]["name"])
            for source in container(workload).get("envFrom", [])
        ]
        return {name: text for found in maps if found for name, text in found["data"].items()}


def faults(objects: Sequence[Manifest], secrets: Secrets) -> list[str]:
    """One line for everything that is asked for and not there; empty where all is."""
    cluster = Cluster(objects, secrets)
    return [
        f"{item['kind']} {item['metadata']['name']}: {fault}"
        for item in objects
        for fault in _WALKS.get(item["kind"], _nothing)(cluster, item)
    ]


def _nothing(_: Cluster, __: Manifest) -> Iterator[str]:
    yield from ()


def _workload(cluster: Cluster, item: Manifest) -> Iterator[str]:
    account = pod(item).get("serviceAccountName")
    if account and not cluster.find("ServiceAccount", account):
        yield f"no ServiceAccount {account}"
    sources = [source for one in containers(item) for source in one.get("envFrom", [])]
    for source in sources:
        if not cluster.find("ConfigMap", source["configMapRef"]["name"]):
            yield f"no ConfigMap {source['configMapRef']['name']}"
    volumes = {volume["name"]: volume for volume in pod(item).get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])}
    mounts = [mount for one in containers(item) for mount in one.get("volumeMounts", [])]
    for mount in mounts:
        if mount["name"] not in volumes.keys() | claims:
            yield f"no volume {mount['name']}"
    yield from _files(cluster, item, volumes)
    ports = {port["name"] for port in container(item).get("ports", [])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        action = container(item).get(probe, {})
        port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
        if port and port not in ports:
            yield f"no port {port}"
    service = item["spec"].get("serviceName")
    if service and not cluster.find("Service", service):
        yield f"no Service {service}"


def _files(
    cluster: Cluster, item: Manifest, volumes: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Every secret exists, and every file that a setting names is a key of what is mounted there."""
    held: dict[str, set[str]] = {}
    for mount in container(item).get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            if name not in cluster.secrets and not volume["secret"].get("optional"):
                yield f"no secret {name}"
            held[mount["mountPath"]] = set(cluster.secrets.get(name, ()))
        elif "configMap" in volume:
            found = cluster.find("ConfigMap", volume["configMap"]["name"])
            if not found:
                yield f"no ConfigMap {volume['configMap']['name']}"
            held[mount["mountPath"]] = set(found["data"] if found else ())
    for name, path in cluster.settings(item).items():
        folder, _, key = path.rpartition("/")
        if name.endswith(("_FILE", "_PATH")) and folder in held and key not in held[folder]:
            yield f"{name}: no key {key} in what is mounted at {folder}"


def _service(cluster: Cluster, item: Manifest) -> Iterator[str]:
    chosen = cluster.selected({"matchLabels": item["spec"]["selector"]})
    if not chosen:
        yield "selects no pod"
    for workload in chosen:
        ports = {port["name"] for port in container(workload)["ports"]}
        for port in item["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{workload['metadata']['name']} has no port {port['targetPort']}"


def _budget(cluster: Cluster, item: Manifest) -> Iterator[str]:
    if not cluster.selected(item["spec"]["selector"]):
        yield "selects no pod"


def _policy(cluster: Cluster, item: Manifest) -> Iterator[str]:
    chosen = cluster.selected(item["spec"]["podSelector"])
    if not chosen:
        yield "selects no pod"
    named = {port["name"] for one in chosen for port in container(one).get("ports", [])}
    for rule in item["spec"].get("ingress", []):
        for port in rule["ports"]:
            if isinstance(port["port"], str) and port["port"] not in named:
                yield f"no port {port['port']}"


def _scaler(cluster: Cluster, item: Manifest) -> Iterator[str]:
    target = item["spec"]["scaleTargetRef"]
    workload = cluster.find(target["kind"], target["name"])
    if not workload:
        yield f"no {target['kind']} {target['name']}"
        return
    for trigger in item["spec"].get("triggers", []):
        login = trigger.get("authenticationRef", {}).get("name")
        if login and not cluster.find("TriggerAuthentication", login):
            yield f"no TriggerAuthentication {login}"
        for key, name in trigger["metadata"].items():
            if key.endswith("FromEnv") and name not in cluster.settings(workload):
                yield f"no variable {name}"


def _login(cluster: Cluster, item: Manifest) -> Iterator[str]:
    for reference in item["spec"]["secretTargetRef"]:
        if reference["key"] not in cluster.secrets.get(reference["name"], ()):
            yield f"no key {reference['key']} in secret {reference['name']}"


def _monitor(cluster: Cluster, item: Manifest) -> Iterator[str]:
    chosen = cluster.selected(item["spec"]["selector"])
    for endpoint in item["spec"]["podMetricsEndpoints"]:
        serving = [
            workload
            for workload in chosen
            if endpoint["port"] in {port["name"] for port in container(workload).get("ports", [])}
        ]
        if not serving:
            yield f"no pod with a port {endpoint['port']}"


def _ingress(cluster: Cluster, item: Manifest) -> Iterator[str]:
    for entry in item["spec"]["tls"]:
        if entry["secretName"] not in cluster.secrets:
            yield f"no secret {entry['secretName']}"
    for rule in item["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            yield from _backend(cluster, backend["name"], backend["port"]["name"], "name")


def _route(cluster: Cluster, item: Manifest) -> Iterator[str]:
    for rule in item["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            yield from _backend(cluster, backend["name"], backend["port"], "port")


def _backend(cluster: Cluster, name: str, port: str | int, by: str) -> Iterator[str]:
    service = cluster.find("Service", name)
    if not service:
        yield f"no Service {name}"
    elif port not in [offered[by] for offered in service["spec"]["ports"]]:
        yield f"Service {name} has no port {port}"


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", [])
    )


_WALKS: dict[str, Callable[[Cluster, Manifest], Iterator[str]]] = {
    "Deployment": _workload,
    "StatefulSet": _workload,
    "Job": _workload,
    "Service": _service,
    "PodDisruptionBudget": _budget,
    "NetworkPolicy": _policy,
    "HorizontalPodAutoscaler": _scaler,
    "ScaledObject": _scaler,
    "TriggerAuthentication": _login,
    "PodMonitor": _monitor,
    "Ingress": _ingress,
    "HTTPRoute": _route,
}
