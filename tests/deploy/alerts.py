"""The alerts as Prometheus evaluates them: promtool fed with the scenarios of `alerts.yaml`."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.local.prerequisites import find_promtool
from deploy.rendering import Manifest
from tests.deploy import manifests

INTERVAL = "1m"

_FILE = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text(encoding="utf-8"))
HEALTHY: Mapping[str, str] = _FILE["healthy"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What an installation exposes that has a fault, and what is said of it at that `minute`."""

    series: Mapping[str, str]
    minute: int
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)


SCENARIOS = {name: Scenario(**scenario) for name, scenario in _FILE["scenarios"].items()}


def rules() -> dict[str, Manifest]:
    """Every alert of the production overlay by its name, in order."""
    (resource,) = manifests.of_kind("production", "PrometheusRule")
    return {rule["alert"]: rule for group in resource["spec"]["groups"] for rule in group["rules"]}


def exposed(namespace: str, instead: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """The series of one installation, `instead` in place of those of the same labels."""
    series = {**HEALTHY, **(instead or {})}
    return [
        {"series": _in_namespace(name, namespace), "values": values}
        for name, values in series.items()
    ]


def expected(name: str, scenario: Scenario, namespace: str) -> dict[str, Any]:
    """The alert that must fire, with all its labels and its text."""
    rule = rules()[name]
    labels = {key: value.replace("NAMESPACE", namespace) for key, value in scenario.labels.items()}
    return {
        "exp_labels": {**rule["labels"], **labels, "namespace": namespace},
        "exp_annotations": {**rule["annotations"], "summary": scenario.summary},
    }


def case(series: list[dict[str, str]], minute: int, fires: Mapping[str, Any]) -> dict[str, Any]:
    """One test of promtool: which alerts fire at a minute, each exactly as given (empty = not)."""
    return {
        "interval": INTERVAL,
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": alerts}
            for name, alerts in fires.items()
        ],
    }


def judge(cases: list[dict[str, Any]], folder: Path) -> str:
    """What promtool has to say against these cases; nothing where all is as expected."""
    (resource,) = manifests.of_kind("production", "PrometheusRule")
    (folder / "rules.yaml").write_text(yaml.safe_dump(resource["spec"]))
    tests = folder / "tests.yaml"
    tests.write_text(
        yaml.safe_dump(
            {"rule_files": ["rules.yaml"], "evaluation_interval": INTERVAL, "tests": cases}
        )
    )
    done = subprocess.run(
        [find_promtool(), "test", "rules", tests], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _in_namespace(series: str, namespace: str) -> str:
    return series.replace("NAMESPACE", namespace).replace("{", f'{{namespace="{namespace}",', 1)
