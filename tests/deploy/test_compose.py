import json
import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from service import settings
from tests.deploy import manifests

COMPOSE = Path("deploy/compose.yaml")
OURS = {"indexes", "consumers", "api"}

Service = dict[str, Any]


@pytest.fixture(name="composition")
def _composition() -> Service:
    composition = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(composition, dict)
    return composition


@pytest.fixture(name="services")
def _services(composition: Service) -> dict[str, Service]:
    services = composition["services"]
    assert isinstance(services, dict)
    return services


def test_the_file_fits_the_compose_specification(composition: Service) -> None:
    # From JSON, because the validator does not merge YAML anchors; a container engine does.
    parsed = compose_spec.PyCompose.from_json(json.dumps(composition))

    assert set(parsed.service_names()) == set(composition["services"])


def test_a_misspelt_key_is_refused(composition: Service) -> None:
    composition["services"]["api"]["healthchek"] = {}

    with pytest.raises(ValueError, match="healthchek"):
        compose_spec.PyCompose.from_json(json.dumps(composition))


def test_every_image_has_a_version(services: dict[str, Service]) -> None:
    for service in services.values():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", service["image"])


def test_our_processes_share_the_image_of_the_cluster(services: dict[str, Service]) -> None:
    images = {services[name]["image"] for name in OURS}

    assert images == {manifests.container(manifests.workloads("development")[0])["image"]}


def test_nothing_starts_before_what_it_needs(services: dict[str, Service]) -> None:
    needs = {
        name: {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    assert needs == {
        "mongodb": {},
        "kafka": {},
        "topics": {"kafka": "service_healthy"},
        "indexes": {"mongodb": "service_healthy"},
        "consumers": {
            "indexes": "service_completed_successfully",
            "topics": "service_completed_successfully",
        },
        "api": {"indexes": "service_completed_successfully"},
    }


def test_what_runs_for_ever_tells_its_health(services: dict[str, Service]) -> None:
    for name in ("mongodb", "kafka", "consumers", "api"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name, section in (("consumers", settings.IngestSettings), ("api", settings.HttpSettings)):
        port = section.model_fields["operations_port"].default
        assert f":{port}/readyz" in services[name]["healthcheck"]["test"][-1]


def test_every_variable_is_a_setting(services: dict[str, Service]) -> None:
    known = {name for section in settings.SECTIONS for name in section.variables()}

    for name in OURS:
        assert set(services[name]["environment"]) <= known


def test_our_containers_can_write_and_gain_nothing(services: dict[str, Service]) -> None:
    for name in OURS:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in services[name]


def test_a_stop_waits_for_the_drain(services: dict[str, Service]) -> None:
    for name, section in (("consumers", settings.IngestSettings), ("api", settings.HttpSettings)):
        drain = section.model_fields["shutdown_seconds"].default
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_every_topic_is_created_with_room_for_dead_letters(services: dict[str, Service]) -> None:
    script = services["topics"]["command"][-1]
    (names,) = re.findall(r"for topic in (.+); do", script)
    limits = {
        topic: int(size) for topic, size in re.findall(r'--topic "?(\S+?)"? .*bytes=(\d+)', script)
    }
    fields = settings.KafkaSettings.model_fields
    largest = settings.IngestSettings.model_fields["max_record_bytes"].default

    assert {f"activity.{name}" for name in names.split()} == set(fields["topics"].default)
    assert limits["activity.$$topic"] > largest
    assert limits[fields["dead_letter_topic"].default] >= limits["activity.$$topic"] + 64 * 1024
