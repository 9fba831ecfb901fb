"""Every alert fires for its own fault, in whichever installation, and is silent while all is well."""

import re
from pathlib import Path

import pytest

from tests.deploy import alerts, metrics
from tests.deploy.alerts import SCENARIOS, case, expected, exposed, judge

README = Path("deploy/README.md").read_text(encoding="utf-8")
OURS, OTHER = "activity", "activity-rebuild"
RULES = alerts.rules()
every_alert = pytest.mark.parametrize("name", RULES)

SILENCE = dict.fromkeys(RULES, ())


@every_alert
def test_an_alert_fires_in_its_own_scenario(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    fires = {name: [expected(name, scenario, OURS)]}
    broken = exposed(OURS, scenario.series)

    alone = case(broken, scenario.minute, fires)
    beside_a_healthy_one = case(broken + exposed(OTHER), scenario.minute, fires)

    assert judge([alone, beside_a_healthy_one], tmp_path) == ""


def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    both = exposed(OURS) + exposed(OTHER)

    quiet = [case(both, minute, SILENCE) for minute in (1, 20, 90)]

    assert judge(quiet, tmp_path) == ""


def test_every_scenario_is_of_an_alert() -> None:
    assert list(SCENARIOS) == list(RULES)


def test_an_installation_that_crashes_for_days_is_not_forgotten(tmp_path: Path) -> None:
    """Longer than what is remembered of the series that it once exposed."""
    minutes = 30 * 60
    ours = [one for one in exposed(OURS) if one["series"].startswith("up{")]
    other = [one for one in exposed(OTHER) if one["series"].startswith(("up{", "activity_ready{"))]
    crashing = [{**one, "values": f"0x{minutes}"} for one in ours]
    healthy = [{**one, "values": f"1x{minutes}"} for one in other]
    gone = expected("ActivityApiGone", SCENARIOS["ActivityApiGone"], OURS)

    fires = {"ActivityApiGone": [gone]}
    assert judge([case(crashing + healthy, minutes - 60, fires)], tmp_path) == ""


def test_prometheus_that_scrapes_nothing_is_noticed(tmp_path: Path) -> None:
    gone = expected("ActivityApiGone", SCENARIOS["ActivityApiGone"], OURS)
    del gone["exp_labels"]["namespace"]

    assert judge([case([], 30, {"ActivityApiGone": [gone]})], tmp_path) == ""


def test_a_scenario_that_does_not_fire_is_told(tmp_path: Path) -> None:
    fires = {"ActivityLagAge": [expected("ActivityLagAge", SCENARIOS["ActivityLagAge"], OURS)]}

    said = judge([case(exposed(OURS), 20, fires)], tmp_path)

    assert "ActivityLagAge" in said


@every_alert
def test_an_alert_keeps_the_namespace(name: str) -> None:
    grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", RULES[name]["expr"])

    assert all("namespace" in labels.split(", ") for labels in grouped)
    aggregations = re.findall(r"\b(?:sum|max|min|count|group|avg)\b", RULES[name]["expr"])
    assert len(grouped) == len(aggregations)


@every_alert
def test_an_alert_names_its_metric_and_the_first_action(name: str) -> None:
    rule = RULES[name]
    read = metrics.asked_for(rule["expr"])
    known = [metric for metric in metrics.declared() if metric.samples & read]
    named = rule["annotations"]["metric"]

    assert read
    assert read <= metrics.SCRAPED_SAMPLES.union(*(metric.samples for metric in known))
    assert named in metrics.SCRAPED_SAMPLES or any(
        named == metric.name or named in metric.samples for metric in known
    )
    assert metrics.labels_in(rule["expr"]) <= metrics.SCRAPED_LABELS.union(
        *(metric.labels for metric in known)
    )
    assert len(rule["annotations"]["action"]) > 20
    for metric_name in re.findall(r"activity_\w+", rule["annotations"]["action"]):
        assert any(
            metric_name == metric.name or metric_name in metric.samples
            for metric in metrics.declared()
        )


@every_alert
def test_an_alert_points_into_the_runbook(name: str) -> None:
    address, _, heading = RULES[name]["annotations"]["runbook_url"].partition("#")

    assert address.endswith("/deploy/README.md")
    assert heading == name.lower()


def test_the_alerts_cover_what_users_feel() -> None:
    read = set().union(*(metrics.asked_for(rule["expr"]) for rule in RULES.values()))

    assert {
        "activity_lag_records",
        "activity_lag_seconds",
        "activity_oldest_record_seconds",
        "activity_dead_letters_total",
        "activity_http_requests_total",
        "activity_http_request_seconds_bucket",
    } <= read


def test_every_alert_has_its_paragraph_in_the_runbook() -> None:
    runbook = README.partition("\n## Runbook\n")[2]
    paragraphs = dict(re.findall(r"^### (\w+)\n(.+)$", runbook, re.MULTILINE))

    assert list(paragraphs) == list(RULES)
    known = {name for metric in metrics.declared() for name in (metric.name, *metric.samples)}
    assert set(re.findall(r"`(activity_\w+)`", README)) <= known
