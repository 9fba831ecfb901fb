"""The environment into settings (contract 4)."""

from pathlib import Path

import pytest

from service.errors import StartError
from service.settings import (
    HttpSettings,
    KafkaSettings,
    MongoSettings,
    Section,
    read_section,
    unknown_variables,
)

WRONG: list[tuple[type[Section], str, str]] = [
    (MongoSettings, "ACTIVITY_MONGO_DRIVER", "odbc"),
    (MongoSettings, "ACTIVITY_MONGO_DATABASE", "a b"),
    (MongoSettings, "ACTIVITY_MONGO_URL_FILE", "/no/such/file"),
    (KafkaSettings, "ACTIVITY_KAFKA_BOOTSTRAP_SERVERS", "nonsense:port"),
    (KafkaSettings, "ACTIVITY_KAFKA_TOPICS", ","),
    (KafkaSettings, "ACTIVITY_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
    (HttpSettings, "ACTIVITY_HTTP_PORT", "http"),
    (HttpSettings, "ACTIVITY_CORS_ORIGINS", "*"),
    (HttpSettings, "ACTIVITY_CORS_ORIGINS", "null"),
    (HttpSettings, "ACTIVITY_CORS_ORIGINS", "https://app.example.com/"),
    (HttpSettings, "ACTIVITY_CURSOR_SECRET", "short"),
    (HttpSettings, "ACTIVITY_CURSOR_SECRET_FILE", "/no/such/file"),
]


@pytest.mark.parametrize(("section", "variable", "value"), WRONG)
def test_a_wrong_setting_is_one_line_with_its_name(
    section: type[Section], variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(StartError) as caught:
        read_section(section)

    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_CURSOR_SECRET", "hunter2")

    with pytest.raises(StartError) as caught:
        read_section(HttpSettings)

    assert "hunter2" not in str(caught.value)


def test_a_setting_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "url"
    secret.write_text("mongodb://somewhere\n")
    monkeypatch.delenv("ACTIVITY_MONGO_URL", raising=False)
    monkeypatch.setenv("ACTIVITY_MONGO_URL_FILE", str(secret))

    settings = read_section(MongoSettings)

    assert settings.url.get_secret_value() == "mongodb://somewhere"
    assert "somewhere" not in repr(settings)


def test_an_empty_file_name_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_MONGO_DATABASE_FILE", "")
    monkeypatch.setenv("ACTIVITY_MONGO_DATABASE", "timelines")

    assert read_section(MongoSettings).database == "timelines"


def test_origins_are_taken_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = "https://App.example.com, http://localhost:3000,http://[::1]:80,capacitor://localhost"
    monkeypatch.setenv("ACTIVITY_CORS_ORIGINS", origins)
    monkeypatch.setenv("ACTIVITY_CURSOR_SECRET", "a secret of the tests")

    assert read_section(HttpSettings).cors_origins == (
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]:80",
        "capacitor://localhost",
    )


def test_several_brokers_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_KAFKA_BOOTSTRAP_SERVERS", "one:9092, two:9092")

    assert read_section(KafkaSettings).bootstrap_servers == "one:9092, two:9092"


def test_a_typing_error_in_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVITY_HTTP_PROT", "8080")

    assert "ACTIVITY_HTTP_PROT" in unknown_variables()
