import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from deploy import rendering
from deploy.rendering import KUBERNETES, Manifest, build
from service import observability
from service import settings as service_settings
from service.errors import RejectionCode
from tests.deploy import manifests, metrics
from tests.deploy.manifests import OVERLAYS, container, containers, pod, processes, workloads

README = Path("deploy/README.md").read_text(encoding="utf-8")
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def known_variables() -> set[str]:
    names = {name for section in service_settings.SECTIONS for name in section.variables()}
    return names | {f"{name}_FILE" for name in names}


def consumers(overlay: str) -> list[Manifest]:
    return [workload for workload in workloads(overlay) if workload["kind"] == "StatefulSet"]


def dashboard() -> dict[str, str]:
    """Panel title to all its expressions, Grafana's interval filled in."""
    board = json.loads(
        manifests.named("production", "ConfigMap", "activity-dashboard")["data"]["dashboard.json"]
    )
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }


@every_overlay
def test_every_object_fits_its_schema(overlay: str) -> None:
    rendered = rendering.render(overlay)

    for manifest in rendered:
        manifests.validate(manifest)

    assert {"Deployment", "StatefulSet", "NetworkPolicy"} <= {m["kind"] for m in rendered}


@pytest.mark.parametrize("kind", ["StatefulSet", "ScaledObject", "PrometheusRule", "PodMonitor"])
def test_a_key_outside_the_schema_is_refused(kind: str) -> None:
    manifest = json.loads(json.dumps(manifests.of_kind("production", kind)[0]))
    manifest["spec"]["replicaz"] = 3

    with pytest.raises(Exception, match=r"replicaz"):
        manifests.validate(manifest)


@every_overlay
def test_objects_live_in_the_overlays_namespace(overlay: str) -> None:
    (namespace,) = manifests.of_kind(overlay, "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for manifest in rendering.render(overlay):
        if manifest is not namespace:
            assert manifest["metadata"]["namespace"] == namespace["metadata"]["name"]


@every_overlay
def test_every_service_is_probed_on_its_operations_port(overlay: str) -> None:
    for workload in processes(overlay):
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        section = (
            service_settings.HttpSettings
            if workload["kind"] == "Deployment"
            else service_settings.IngestSettings
        )
        assert ports["operations"] == section.model_fields["operations_port"].default
        for probe, path in (
            ("startup", "healthz"),
            ("liveness", "healthz"),
            ("readiness", "readyz"),
        ):
            assert container(workload)[f"{probe}Probe"]["httpGet"] == {
                "path": f"/{path}",
                "port": "operations",
            }


@every_overlay
def test_every_container_has_requests_and_limits(overlay: str) -> None:
    for workload in workloads(overlay):
        for one in containers(workload):
            for bound in ("requests", "limits"):
                assert set(one["resources"][bound]) == {"cpu", "memory"}


@every_overlay
def test_every_pod_meets_the_restricted_standard(overlay: str) -> None:
    for workload in workloads(overlay):
        assert pod(workload)["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for one in containers(workload):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert set(pod(workload)) & {"hostNetwork", "hostPID", "hostIPC"} == set()
        assert all(set(volume) == {"name", "secret"} for volume in pod(workload)["volumes"])


@every_overlay
def test_no_pod_holds_a_token_or_foreign_variables(overlay: str) -> None:
    (account,) = manifests.of_kind(overlay, "ServiceAccount")

    assert account["automountServiceAccountToken"] is False
    for workload in workloads(overlay):
        assert pod(workload)["serviceAccountName"] == account["metadata"]["name"]
        assert pod(workload)["automountServiceAccountToken"] is False
        assert pod(workload)["enableServiceLinks"] is False


@every_overlay
def test_every_image_is_pinned_and_the_same(overlay: str) -> None:
    images = {one["image"] for workload in workloads(overlay) for one in containers(workload)}

    (image,) = images
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", image)


@every_overlay
def test_every_variable_is_a_setting_of_the_processes(overlay: str) -> None:
    for workload in workloads(overlay):
        given = set(manifests.settings(overlay, workload))
        given |= {variable["name"] for variable in container(workload).get("env", [])}

        assert given - known_variables() == set()


@every_overlay
def test_every_process_accepts_its_settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for workload in processes(overlay):
        for name, value in manifests.settings(overlay, workload).items():
            # The files of secrets are the cluster's; any readable text stands in for them.
            monkeypatch.setenv(name, __file__ if name.endswith("_FILE") else value)
        for section in service_settings.SECTIONS:
            service_settings.read_section(section)


@every_overlay
def test_every_secret_file_is_mounted_where_it_is_read(overlay: str) -> None:
    sections = {
        "api": ("MONGO", "CURSOR"),
        "consumers": ("MONGO", "KAFKA"),
        "indexes": ("MONGO",),
    }
    for workload in workloads(overlay):
        for one in containers(workload):
            mounts = tuple(mount["mountPath"] for mount in one["volumeMounts"])
            read = {
                value
                for name, value in manifests.settings(overlay, workload).items()
                if name.endswith(("_FILE", "_PATH")) and name.split("_")[1] in sections[one["name"]]
            }
            assert read
            assert all(path.startswith(mounts) for path in read)


@every_overlay
def test_no_secret_is_written_down(overlay: str) -> None:
    assert manifests.of_kind(overlay, "Secret") == []
    for config in manifests.of_kind(overlay, "ConfigMap"):
        named_secrets = [
            name for name in config["data"] if re.search(r"(PASSWORD|SECRET|MONGO_URL)$", name)
        ]
        assert named_secrets == []


@every_overlay
def test_grace_outlasts_the_drain(overlay: str) -> None:
    for workload in processes(overlay):
        variables = manifests.settings(overlay, workload)
        drain = float(variables["ACTIVITY_SHUTDOWN_SECONDS"])
        if workload["kind"] == "Deployment":
            drain += container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
            drain += float(variables["ACTIVITY_DRAIN_DELAY_SECONDS"])

        assert pod(workload)["terminationGracePeriodSeconds"] >= drain + 10


@every_overlay
def test_a_restarted_member_is_back_within_its_session(overlay: str) -> None:
    default = service_settings.KafkaSettings.model_fields["session_timeout_seconds"].default
    for workload in consumers(overlay):
        variables = manifests.settings(overlay, workload)
        session = float(variables.get("ACTIVITY_KAFKA_SESSION_TIMEOUT_SECONDS", default))

        assert pod(workload)["terminationGracePeriodSeconds"] < session


@every_overlay
def test_requests_find_their_way_before_and_during_a_restart(overlay: str) -> None:
    api = manifests.named(overlay, "Deployment", "activity-api")

    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert container(api)["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5
    assert float(manifests.settings(overlay, api)["ACTIVITY_DRAIN_DELAY_SECONDS"]) >= 2


@every_overlay
def test_a_members_name_is_its_pods_name(overlay: str) -> None:
    for workload in consumers(overlay):
        assert container(workload)["env"] == [
            {
                "name": "ACTIVITY_KAFKA_GROUP_INSTANCE_ID",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
            }
        ]


@every_overlay
def test_services_and_budgets_select_their_own_pods_only(overlay: str) -> None:
    labels = {
        workload["metadata"]["name"]: workload["spec"]["template"]["metadata"]["labels"]
        for workload in manifests.of_kind(overlay, "Deployment", "StatefulSet", "Job")
    }
    selectors = {
        (manifest["kind"], manifest["metadata"]["name"]): selector.get("matchLabels", selector)
        for manifest in manifests.of_kind(
            overlay, "Service", "PodDisruptionBudget", "Deployment", "StatefulSet"
        )
        if (selector := manifest["spec"]["selector"])
    }

    assert len(selectors) >= 3 * len(processes(overlay))
    for (_, name), selector in selectors.items():
        chosen = [owner for owner in labels if selector.items() <= labels[owner].items()]
        assert chosen == [name]


@every_overlay
def test_pods_spread_over_zones_and_nodes(overlay: str) -> None:
    for workload in processes(overlay):
        spread = pod(workload)["topologySpreadConstraints"]
        own = workload["spec"]["selector"]

        assert {rule["topologyKey"] for rule in spread} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        assert all(rule["labelSelector"] == own for rule in spread)


@every_overlay
def test_the_network_is_closed_but_for_what_is_needed(overlay: str) -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in manifests.of_kind(overlay, "NetworkPolicy")
    }
    closed = policies.pop("activity-default-deny")
    opened = {
        (direction, rule_port["port"])
        for policy in policies.values()
        for direction in ("ingress", "egress")
        for rule in policy.get(direction, [])
        for rule_port in rule["ports"]
    }

    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert opened == {
        ("ingress", "http"),
        ("ingress", "operations"),
        ("egress", 53),
        ("egress", 27017),
        ("egress", 9092),
        ("egress", 9093),
        *(("ingress", server) for server in ("kafka", "mongodb") if overlay == "development"),
    }


def test_every_topic_has_a_family_with_a_group_of_its_own() -> None:
    families = [manifests.settings("production", workload) for workload in consumers("production")]
    topics = service_settings.KafkaSettings.model_fields["topics"].default

    assert sorted(family["ACTIVITY_KAFKA_TOPICS"] for family in families) == sorted(topics)
    assert len({family["ACTIVITY_KAFKA_GROUP_ID"] for family in families}) == len(families)


def test_production_speaks_tls_with_a_password() -> None:
    for workload in consumers("production"):
        variables = manifests.settings("production", workload)

        assert variables["ACTIVITY_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
        assert variables["ACTIVITY_KAFKA_SASL_MECHANISM"] in get_args(
            service_settings.KafkaSettings.model_fields["sasl_mechanism"].annotation
        )


def test_consumers_scale_by_lag_up_to_their_partitions() -> None:
    scaled = {
        manifest["spec"]["scaleTargetRef"]["name"]: manifest["spec"]
        for manifest in manifests.of_kind("production", "ScaledObject")
    }

    del scaled["activity-api"]
    assert set(scaled) == {workload["metadata"]["name"] for workload in consumers("production")}
    for workload in consumers("production"):
        rule = scaled[workload["metadata"]["name"]]
        partitions = int(workload["metadata"]["annotations"]["activity/topic-partitions"])
        (trigger,) = rule["triggers"]
        from_environment = [
            value for key, value in trigger["metadata"].items() if key.endswith("FromEnv")
        ]
        assert rule["minReplicaCount"] <= rule["maxReplicaCount"] <= partitions
        assert len(from_environment) == 3
        assert set(from_environment) <= set(manifests.settings("production", workload))
        assert "replicas" not in workload["spec"]


def test_the_api_scales_by_its_own_load() -> None:
    scaler = manifests.named("production", "ScaledObject", "activity-api")

    assert scaler["spec"]["scaleTargetRef"]["name"] == "activity-api"
    assert scaler["spec"]["minReplicaCount"] >= 2
    cpu, waiting = scaler["spec"]["triggers"]
    assert cpu["type"] == "cpu"
    query = waiting["metadata"]["query"]
    assert metrics.asked_for(query) == {"activity_http_wait_seconds_sum"}
    assert 'namespace="activity"' in query
    assert "replicas" not in manifests.named("production", "Deployment", "activity-api")["spec"]


def test_the_api_scales_by_the_namespace_that_it_is_installed_in(tmp_path: Path) -> None:
    """A second installation beside it must not scale it, nor the other way round."""
    folder = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, folder)
    overlay = folder / "overlays" / "production" / "kustomization.yaml"
    text = overlay.read_text(encoding="utf-8")
    overlay.write_text(text.replace("namespace: activity\n", "namespace: rebuilt\n"))

    queries = [
        trigger["metadata"]["query"]
        for manifest in build(overlay.parent)
        if manifest["kind"] == "ScaledObject"
        for trigger in manifest["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]

    assert queries == ['sum(rate(activity_http_wait_seconds_sum{namespace="rebuilt"}[2m]))']


def test_prometheus_finds_every_service() -> None:
    (monitor,) = manifests.of_kind("production", "PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]

    for workload in processes("production"):
        assert wanted <= workload["spec"]["template"]["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in container(workload)["ports"]}


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set().union(*(metrics.asked_for(expression) for expression in dashboard().values()))

    unseen = [metric.name for metric in metrics.declared() if not metric.samples & shown]

    assert unseen == []


@pytest.mark.parametrize(("panel", "expression"), dashboard().items())
def test_a_panel_shows_what_is_exposed(panel: str, expression: str) -> None:
    read = metrics.asked_for(expression)
    known = [metric for metric in metrics.declared() if metric.samples & read]

    assert read, panel
    assert read <= set().union(metrics.of_the_process(), *(metric.samples for metric in known))
    assert metrics.labels_in(expression) <= metrics.SCRAPED_LABELS.union(
        *(metric.labels for metric in known)
    )
    chosen = re.findall(r"\b(?:activity|process)_\w+\{([^}]*)\}", expression)
    assert len(chosen) == len(re.findall(r"\b(?:activity|process)_\w+", expression))
    for selector in chosen:
        assert {'namespace=~"$namespace"', 'pod=~"$pod"'} <= set(selector.split(","))
        assert ('topic=~"$topic"' in selector) == any("topic" in metric.labels for metric in known)


def test_the_dashboard_lets_choose_what_it_shows() -> None:
    board = manifests.named("production", "ConfigMap", "activity-dashboard")["data"]
    variables = json.loads(board["dashboard.json"])["templating"]["list"]

    assert [variable["name"] for variable in variables] == [
        *("datasource", "namespace", "topic", "pod")
    ]


def test_the_first_dead_letter_is_a_rise() -> None:
    counted = {
        sample.labels["code"]
        for family in observability.DEAD_LETTERS.collect()
        for sample in family.samples
    }

    assert counted == set(get_args(RejectionCode))


@every_overlay
def test_the_indexes_are_seen_to_before_the_api_starts(overlay: str) -> None:
    api = manifests.named(overlay, "Deployment", "activity-api")
    (indexes,) = pod(api)["initContainers"]

    assert indexes["args"] == ["service", "indexes"]
    # No object of ours would have to be deleted before an upgrade.
    assert [job for job in workloads(overlay) if job["kind"] == "Job"] == []
