"""Every component on every overlay that it is for: rendered, valid, and all that is asked for there."""

import os
import re
import subprocess
from itertools import product
from pathlib import Path

import pytest
import yaml

from deploy import rendering
from deploy.rendering import KUBERNETES, Manifest
from service.settings import KafkaSettings
from tests.deploy import manifests, references
from tests.deploy.manifests import OVERLAYS, container

README = Path("deploy/README.md").read_text(encoding="utf-8")
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
# Those that an operator adds; the others belong to an overlay.
DOORS = ((), ("ingress",), ("httproute",))
ADDED = {
    "development": ((), ("open-egress",)),
    "production": ((), ("public-ca",), ("kube-prometheus-stack",), ("open-egress",), ("topics",)),
}
ADDED["production-small"] = ADDED["production"]
ALL = {
    overlay: tuple(name for names in added for name in names) for overlay, added in ADDED.items()
}
# What `tls` calls it, as KEDA does.
KEDA_MECHANISMS = {
    "PLAIN": "plaintext",
    "SCRAM-SHA-256": "scram_sha256",
    "SCRAM-SHA-512": "scram_sha512",
}


def combinations() -> list[tuple[str, ...]]:
    """Each alone and all at once; with LONG_TESTS every sensible combination."""
    chosen = []
    for overlay, added in ADDED.items():
        if os.environ.get("LONG_TESTS"):
            switches = [((), names) for names in added if names]
            chosen += [
                (overlay, *(name for names in picked for name in names))
                for picked in product(*switches, DOORS)
            ]
        else:
            chosen += [(overlay, *names) for names in (*added, *DOORS[1:])]
            chosen += [(overlay, *ALL[overlay], *door) for door in DOORS[1:]]
    return chosen


def documented_secrets(overlay: str) -> dict[str, set[str]]:
    """What the pages tell an operator to make: secret to its keys."""
    page = KUBERNETES / "overlays" / overlay / "README.md"
    made = re.findall(
        r"create secret generic (\S+) --from-literal=(\w+)=",
        page.read_text(encoding="utf-8") if page.exists() else "",
    )
    if made:
        return {name: {key} for name, key in made}
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "secretG" in b)
    return {
        secret["name"]: {file.partition("=")[0] for file in secret["files"]}
        for secret in yaml.safe_load(block)["secretGenerator"]
    }


def faults(rendered: tuple[Manifest, ...], overlay: str, *, with_ca: bool = True) -> list[str]:
    secrets = documented_secrets(overlay) | {"activity-tls": {"tls.crt", "tls.key"}}
    if not with_ca:
        secrets = {name: keys - {"ca.crt"} for name, keys in secrets.items()}
    return references.faults(rendered, secrets)


@pytest.mark.parametrize("combination", combinations(), ids="+".join)
def test_every_combination_is_whole(combination: tuple[str, ...]) -> None:
    overlay, *added = combination

    rendered = rendering.render_with(overlay, *added)

    for manifest in rendered:
        manifests.validate(manifest)
    assert faults(rendered, overlay, with_ca="public-ca" not in added) == []
    assert_trigger_follows_setting(rendered)


def assert_trigger_follows_setting(rendered: tuple[Manifest, ...]) -> None:
    (settings,) = (
        manifest["data"]
        for manifest in rendered
        if manifest["metadata"]["name"].startswith("activity-settings")
    )
    for manifest in rendered:
        if manifest["kind"] == "ScaledObject":
            mechanism = KEDA_MECHANISMS[settings["ACTIVITY_KAFKA_SASL_MECHANISM"]]
            kafka = [one for one in manifest["spec"]["triggers"] if one["type"] == "kafka"]
            assert all(trigger["metadata"]["sasl"] == mechanism for trigger in kafka)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_walk_misses_nothing_that_is_taken_away(overlay: str) -> None:
    """Every object that another one names is missed when it is gone, every secret, too."""
    rendered = rendering.render(overlay)
    secrets = documented_secrets(overlay)
    named = {"ServiceAccount", "ConfigMap", "Deployment", "StatefulSet", "TriggerAuthentication"}

    for manifest in rendered:
        if manifest["kind"] in named and "dashboard" not in manifest["metadata"]["name"]:
            rest = tuple(other for other in rendered if other is not manifest)
            assert references.faults(rest, secrets), manifest["metadata"]["name"]
    for name in secrets:
        assert references.faults(rendered, {k: v for k, v in secrets.items() if k != name})


def test_every_component_has_its_line_in_the_readme() -> None:
    rows = re.findall(r"^\| `components/([\w-]+)` \|", README, re.MULTILINE)

    assert sorted(rows) == COMPONENTS


@pytest.mark.parametrize("overlay", ["production", "production-small"])
def test_a_public_authority_needs_no_certificate_of_ours(overlay: str) -> None:
    rendered = rendering.render_with(overlay, "public-ca")

    assert "ca.crt" not in yaml.safe_dump_all(rendered)


def test_the_stack_takes_only_what_bears_its_label() -> None:
    rendered = rendering.render_with("production", "kube-prometheus-stack")

    labelled = {
        manifest["kind"]
        for manifest in rendered
        if manifest["metadata"].get("labels", {}).get("release") == "kube-prometheus-stack"
    }
    assert labelled == {"PodMonitor", "PrometheusRule"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_consumers_may_reach_the_servers_of_their_settings(overlay: str) -> None:
    rendered = rendering.render(overlay)
    cluster = references.Cluster(rendered, {})
    for workload in manifests.processes(overlay):
        servers = cluster.settings(workload)["ACTIVITY_KAFKA_BOOTSTRAP_SERVERS"]
        if container(workload)["name"] == "consumers":
            assert int(servers.rpartition(":")[2]) in _egress_ports(rendered, "activity-kafka")
    assert 27017 in _egress_ports(rendered, "activity-mongodb")


def _egress_ports(rendered: tuple[Manifest, ...], policy: str) -> set[int]:
    (found,) = (
        m for m in rendered if (m["kind"], m["metadata"]["name"]) == ("NetworkPolicy", policy)
    )
    return {
        number
        for rule in found["spec"]["egress"]
        for port in rule["ports"]
        for number in range(port["port"], port.get("endPort", port["port"]) + 1)
    }


def topics(text: str) -> dict[str, tuple[int, int, dict[str, int]]]:
    """Topic to partitions, replicas and configuration, from a topics.txt."""
    rows = [line.split() for line in text.splitlines()]
    return {
        name: (
            int(partitions),
            int(replicas),
            {key: int(value) for key, _, value in (word.partition("=") for word in configuration)},
        )
        for name, partitions, replicas, *configuration in rows
    }


def strimzi() -> tuple[Manifest, ...]:
    return rendering.build(KUBERNETES / "strimzi")


def test_topics_are_the_same_for_every_way_to_make_them() -> None:
    listed = topics((KUBERNETES / "components/topics/topics.txt").read_text())
    declared = {
        manifest["spec"]["topicName"]: (
            manifest["spec"]["partitions"],
            manifest["spec"]["replicas"],
            manifest["spec"]["config"],
        )
        for manifest in strimzi()
        if manifest["kind"] == "KafkaTopic"
    }
    fields = KafkaSettings.model_fields

    for manifest in strimzi():
        manifests.validate(manifest)
    assert listed == declared
    assert set(listed) == {*fields["topics"].default, fields["dead_letter_topic"].default}
    tried_out = topics((KUBERNETES / "components/servers/topics.txt").read_text())
    assert set(tried_out) == set(listed)
    for made in (listed, tried_out):
        limits = {name: settings["max.message.bytes"] for name, (*_, settings) in made.items()}
        room = limits.pop("activity.dead_letters")
        assert room >= max(limits.values()) + 64 * 1024


def test_every_topic_has_the_partitions_that_scaling_assumes() -> None:
    listed = topics((KUBERNETES / "components/topics/topics.txt").read_text())
    for workload in manifests.processes("production"):
        if workload["kind"] == "StatefulSet":
            variables = manifests.settings("production", workload)
            partitions, *_ = listed[variables["ACTIVITY_KAFKA_TOPICS"]]
            assumed = workload["metadata"]["annotations"]["activity/topic-partitions"]
            assert partitions == int(assumed)


def test_the_topics_script_asks_for_every_topic(tmp_path: Path) -> None:
    called = tmp_path / "called"
    tool = tmp_path / "kafka-topics.sh"
    tool.write_text(f'#!/bin/sh\necho "$*" >> {called}\ncat >> {called}\n')
    tool.chmod(0o755)
    folder = KUBERNETES / "components/topics"

    subprocess.run(
        ["sh", folder / "create.sh", "kafka:9093", "--command-config", "admin.properties"],
        input=(folder / "topics.txt").read_bytes(),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )

    lines = called.read_text().splitlines()
    assert len(lines) == 5
    assert lines[0] == (
        "--bootstrap-server kafka:9093 --command-config admin.properties --create --if-not-exists"
        " --topic activity.calls --partitions 12 --replication-factor 3"
        " --config max.message.bytes=5242880 --config min.insync.replicas=2"
    )
