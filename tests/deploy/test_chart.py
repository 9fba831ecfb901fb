"""The Helm chart is the overlays: rendered by Helm, and compared object by object."""

import json
import os
import shutil
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import yaml
from helm_python.chart import Chart
from helm_python.errors import HelmError

from deploy import charting
from deploy.charting import CHART, MONITORING, SIZES, SWITCHES
from deploy.rendering import Manifest, render_with
from service.settings import SECTIONS
from tests.deploy import manifests

NONE: dict[str, Any] = dict.fromkeys(SWITCHES, False)
DOORS = ("ingress", "httproute")


@pytest.fixture(scope="module", name="chart")
def _chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    folder = tmp_path_factory.mktemp("chart") / "activity-service"
    folder.mkdir()
    for name in ("Chart.yaml", "values.yaml"):
        shutil.copy(CHART / name, folder)
    charting.write(folder)
    with Chart.load(folder) as chart:
        yield chart


def render(chart: Chart, **values: Any) -> tuple[Manifest, ...]:
    rendered = chart.render(values=values, name="activity", namespace="activity")
    return tuple(
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    )


def combinations() -> list[tuple[str, ...]]:
    """Every switch alone, and all of them; with LONG_TESTS every sensible combination."""
    beside = [switch for switch in SWITCHES if switch not in DOORS]
    if not os.environ.get("LONG_TESTS"):
        return [(), *((switch,) for switch in SWITCHES), (*beside, "ingress")]
    picked = product(*(((), (switch,)) for switch in beside), ((), *((door,) for door in DOORS)))
    return [tuple(name for names in chosen for name in names) for chosen in picked]


@pytest.mark.parametrize("switches", combinations(), ids=lambda switches: "+".join(switches) or "-")
@pytest.mark.parametrize("size", SIZES)
def test_the_chart_renders_what_the_overlay_renders(
    chart: Chart, size: str, switches: tuple[str, ...]
) -> None:
    overlay = render_with(SIZES[size], *(SWITCHES[switch] for switch in switches))

    rendered = render(chart, size=size, **NONE | dict.fromkeys(switches, True))

    assert charting.normalized(rendered) == charting.normalized(overlay)
    for manifest in rendered:
        manifests.validate(manifest)


@pytest.mark.parametrize("size", SIZES)
def test_without_monitoring_nothing_of_it_is_left(chart: Chart, size: str) -> None:
    overlay = render_with(SIZES[size], without=(MONITORING,))

    rendered = render(chart, size=size, monitoring=False, kubePrometheusStack=False)

    assert charting.normalized(rendered) == charting.normalized(overlay)


def test_what_an_installation_chooses_is_in_its_objects(chart: Chart) -> None:
    rendered = charting.normalized(
        render(
            chart,
            image={"repository": "registry.test/a", "tag": "1.2.3"},
            host="timeline.test",
            runbook="https://pages.test",
            replicas={"api": 5, "consumers": 4},
            settings={"ACTIVITY_MAX_PAGE_BYTES": 10485760, "ACTIVITY_LOG_LEVEL": "DEBUG"},
            ingress=True,
        )
    )

    api = rendered["Deployment", "activity-api"]
    assert {one["image"] for one in manifests.containers(api)} == {"registry.test/a:1.2.3"}
    assert api["spec"]["replicas"] == 5
    assert rendered["StatefulSet", "activity-consumers"]["spec"]["replicas"] == 4
    assert rendered["Ingress", "activity-api"]["spec"]["rules"][0]["host"] == "timeline.test"
    text = json.dumps(rendered["PrometheusRule", "activity"])
    assert "https://pages.test/deploy/README.md#" in text
    assert "git.example.com" not in text
    data = rendered["ConfigMap", "activity-settings"]["data"]
    assert data["ACTIVITY_MAX_PAGE_BYTES"] == "10485760"
    assert data["ACTIVITY_LOG_LEVEL"] == "DEBUG"


def test_a_changed_setting_starts_new_pods(chart: Chart) -> None:
    def reference(**settings: Any) -> str:
        (api,) = (m for m in render(chart, settings=settings) if m["kind"] == "Deployment")
        name = manifests.container(api)["envFrom"][0]["configMapRef"]["name"]
        assert isinstance(name, str)
        return name

    assert reference() != reference(ACTIVITY_LOG_LEVEL="DEBUG")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"settings": {"ACTIVITY_TOMBSTONE_DAYS": "many"}}, "/settings/ACTIVITY_TOMBSTONE_DAYS"),
        ({"settings": {"ACTIVITY_LOG_LEVEL": "LOUD"}}, "/settings/ACTIVITY_LOG_LEVEL"),
        ({"settings": {"ACTIVITY_HTTP_PORT": 70000}}, "/settings/ACTIVITY_HTTP_PORT"),
        ({"settings": {"ACTIVITY_RATE_LIMITS": "5/day"}}, "ACTIVITY_RATE_LIMITS"),
        ({"settings": {"ACTIVITY_CURSOR_SECRET": "in the open"}}, "ACTIVITY_CURSOR_SECRET"),
        ({"size": "huge"}, "/size"),
        ({"replicas": {"api": 0}}, "/replicas/api"),
        ({"publicCA": True}, "publicCA"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    chart: Chart, values: dict[str, Any], name: str
) -> None:
    with pytest.raises(HelmError, match=name):
        chart.render(values=values, name="activity")


def test_every_setting_is_a_value() -> None:
    known = {name for section in SECTIONS for name in section.variables()}
    offered = charting.schema()["properties"]["settings"]["properties"]

    assert known <= {name.removesuffix("_FILE") for name in offered}


def test_values_offer_what_the_schema_knows() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert {*values, "global"} == set(charting.schema()["properties"])
    assert values == {**values, MONITORING: True, **NONE}
