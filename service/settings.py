"""Every setting of both processes: environment variables, read once into frozen values.

Each variable may also be given as a file: `ACTIVITY_MONGO_URL_FILE=/run/secrets/mongo-url` is read
in place of `ACTIVITY_MONGO_URL`. A wrong value ends the process with one line (`StartError`).
"""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from service.errors import StartError

MEBIBYTE = 1024 * 1024
MAX_PORT = 65_535


class FileSource(EnvSettingsSource):
    """Reads `NAME_FILE` where `NAME` is asked for: how Kubernetes and Docker hand over secrets."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 the framework's signature
        field_name: str,
    ) -> tuple[Any, str, bool]:
        variable = f"{self.env_prefix}{field_name}_file".upper()
        path = self.env_vars.get(variable.lower())
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise StartError(f"{variable}: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StartError(f"{variable}: {path} is not UTF-8 text") from error


class Section(BaseSettings):
    """Settings of one concern. Its variables are its prefix followed by its upper-case names."""

    model_config = SettingsConfigDict(
        env_prefix="ACTIVITY_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the framework's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls)

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Environment variable to field name."""
        prefix = cls.model_config.get("env_prefix", "")
        return {f"{prefix}{name}".upper(): name for name in cls.model_fields}


def _split(value: Any) -> Any:
    return (
        tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
    )


def _to_networks(value: Any) -> Any:
    try:
        return tuple(ip_network(part, strict=False) for part in _split(value))
    except ValueError as error:
        raise ValueError(f"no address and no network: {error}") from None


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_to_networks)]
OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
OptionalPath = Annotated[Path | None, BeforeValidator(_none_if_empty)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
Origin = Annotated[
    str,
    StringConstraints(
        to_lower=True,
        pattern=r"^(?i)[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$",
    ),
]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class MongoSettings(Section):
    """Where the activities are."""

    model_config = SettingsConfigDict(env_prefix="ACTIVITY_MONGO_")

    url: SecretStr = Field(
        SecretStr("mongodb://localhost:27017"),
        description="connection string, user and password included",
    )
    database: str = Field(
        "activity",
        pattern=r"^[A-Za-z0-9_-]{1,63}$",
        description="database name, up to 63 of A-Z a-z 0-9 _ -",
    )
    driver: Literal["pymongo", "motor"] = Field(
        "pymongo", description="PyMongo's own asyncio API, or Motor"
    )
    tls_ca_path: OptionalPath = Field(
        None, description="PEM file of the authority that signed MongoDB's certificate"
    )
    timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="longest wait for a server or a connection"
    )
    socket_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="longest wait for one operation; must exceed a query's time limit",
    )
    max_pool_size: int = Field(
        48,
        ge=1,
        le=1000,
        description="connections of one process; as many finds it has under way at most",
    )

    @property
    def address(self) -> str:
        """The servers, without user, password and options: fit for a log."""
        servers = self.url.get_secret_value().partition("?")[0].rpartition("@")[2]
        return servers.rpartition("//")[2].partition("/")[0]


class KafkaSettings(Section):
    """Where the events come from."""

    model_config = SettingsConfigDict(env_prefix="ACTIVITY_KAFKA_")

    bootstrap_servers: str = Field(
        "localhost:9092",
        pattern=r"^[^\s,:/]+:\d{1,5}(,\s*[^\s,:/]+:\d{1,5})*$",
        description="host:port, comma separated",
    )
    topics: Annotated[CommaList, Field(min_length=1)] = Field(
        ("activity.calls", "activity.emails", "activity.status_changes", "activity.events"),
        description="topics to subscribe to, comma separated",
    )
    dead_letter_topic: Topic = Field(
        "activity.dead_letters", description="where records go that can never be applied"
    )
    group_id: str = Field("activity-consumers", min_length=1, description="consumer group")
    group_instance_id: OptionalText = Field(
        None, description="static membership: a name of this member that survives a restart"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to the brokers"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="with SASL"
    )
    sasl_username: OptionalText = Field(None, description="with SASL")
    sasl_password: OptionalSecret = Field(None, description="with SASL")
    ssl_ca_path: OptionalPath = Field(
        None, description="PEM file of the authority that signed the brokers' certificates"
    )
    ssl_certificate_path: OptionalPath = Field(None, description="client certificate, PEM")
    ssl_key_path: OptionalPath = Field(None, description="key of the client certificate, PEM")
    session_timeout_seconds: float = Field(
        45.0, ge=6, le=1800, description="a silent member is thrown out of the group after this"
    )
    max_poll_interval_seconds: float = Field(
        300.0, ge=10, le=86_400, description="a member that does not fetch is thrown out after this"
    )
    metadata_max_age_seconds: float = Field(
        30.0, ge=0.1, le=3600, description="added partitions are noticed after this"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_ports(cls, servers: str) -> str:
        if any(int(server.rpartition(":")[2]) > MAX_PORT for server in servers.split(",")):
            raise ValueError(f"a port is at most {MAX_PORT}")
        return servers

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise ValueError(
                f"ACTIVITY_KAFKA_SECURITY_PROTOCOL={self.security_protocol} needs"
                " ACTIVITY_KAFKA_SASL_USERNAME and ACTIVITY_KAFKA_SASL_PASSWORD"
            )
        if self.dead_letter_topic in self.topics:
            raise ValueError(
                "ACTIVITY_KAFKA_DEAD_LETTER_TOPIC must not be one of ACTIVITY_KAFKA_TOPICS"
            )
        return self


class IngestSettings(Section):
    """How a consumer process works off its records."""

    operations_host: OptionalText = Field(
        None, description="address that probes and metrics listen on; none = every interface"
    )
    operations_port: Port = Field(9091, description="probes and metrics; 0 = a free port")
    max_record_bytes: int = Field(
        4 * MEBIBYTE, ge=1024, le=12 * MEBIBYTE, description="a larger record is `too_large`"
    )
    max_unpacked_bytes: int = Field(
        64 * MEBIBYTE,
        ge=16 * MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="a batch that would unpack to more is one dead letter, `batch_too_large`",
    )
    batch_max_records: int = Field(2000, ge=1, le=10_000, description="records written together")
    batch_max_bytes: int = Field(
        4 * MEBIBYTE, ge=1024, le=64 * MEBIBYTE, description="bytes of records written together"
    )
    batch_max_age_seconds: float = Field(
        0.005, ge=0, le=10, description="longest wait of a record for company"
    )
    max_writes_in_flight: int = Field(4, ge=1, le=32, description="batches being written at once")
    max_bytes_in_flight: int = Field(
        32 * MEBIBYTE,
        ge=MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="record bytes fetched and not yet durable; above, partitions pause",
    )
    commit_interval_seconds: float = Field(
        1.0, gt=0, le=60, description="how often durable positions are committed"
    )
    dead_letter_max_ratio: float = Field(
        0.5, gt=0, le=1, description="the fuse: share of dead letters that stops the line; 1 = off"
    )
    refusal_patience_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="after this a record that MongoDB refuses while it takes others is `refused`",
    )
    retry_max_seconds: float = Field(10.0, gt=0, le=300, description="longest pause of a backoff")
    shutdown_seconds: float = Field(20.0, gt=0, le=600, description="time to drain on SIGTERM")


class RetentionSettings(Section):
    """How long delete markers and the feed are kept."""

    tombstone_days: int = Field(
        90,
        ge=1,
        le=24_855,
        description="must exceed the retention of all topics, the dead-letter topic's included",
    )
    feed_hours: float = Field(
        0.0,
        ge=0,
        le=8760,
        description="how far behind a follower may come again, such as 24; MongoDB's oplog must reach as"
        " far. 0 = no feed is kept, and nobody can follow",
    )

    @property
    def keeps_feed(self) -> bool:
        return self.feed_hours > 0


class HttpSettings(Section):
    """How the API answers."""

    http_host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 in a pod every interface is the pod's own
    http_port: Port = Field(8080, description="the public port; 0 = a free port")
    operations_host: OptionalText = Field(
        None, description="address that probes and metrics listen on; none = every interface"
    )
    operations_port: Port = Field(9090, description="probes and metrics; 0 = a free port")
    cursor_secret: SecretStr = Field(
        min_length=16, description="signs cursors; the same on every process of the service"
    )
    rate_limit: str = Field(
        "60/second",
        description="per key and process: so many a second, minute, hour, day or week; empty = off",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="pages of these origins may ask, comma separated, as in"
        " https://app.example.com; empty = none",
    )
    max_page_bytes: int = Field(
        32 * MEBIBYTE, ge=MEBIBYTE, le=1024 * MEBIBYTE, description="a larger page is a 400"
    )
    query_max_seconds: float = Field(10.0, gt=0, le=300, description="a longer query is a 504")
    filter_max_seconds: float = Field(
        3.0,
        gt=0,
        le=300,
        description="the same where documents are read to be left out, or skipped by the thousand",
    )
    key_cache_seconds: float = Field(
        10.0, ge=0, le=25, description="how long a key is believed without asking again"
    )
    queue_max_seconds: float = Field(
        1.0, gt=0, le=60, description="longest wait of a request for its turn; beyond, 503"
    )
    max_followers: int = Field(
        2000,
        ge=0,
        le=100_000,
        description="listings followed at once on one process, a key at most half; above, 503",
    )
    max_unsent_bytes: int = Field(
        256 * MEBIBYTE,
        ge=MEBIBYTE,
        le=64 * 1024 * MEBIBYTE,
        description="bytes of answers that wait for their clients; half of them for one key",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        le=1_000_000,
        description="connections of clients; idle ones give way to new ones",
    )
    trusted_proxies: Networks = Field(
        (),
        description="addresses or networks whose X-Forwarded-For is believed, comma separated",
    )
    timeline_page: bool = Field(True, description="serve the page for people at `/timeline/`")
    docs_page: bool = Field(True, description="serve the reference of the API at `/docs/`")
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="on SIGTERM, unready but still answering until balancers have turned away",
    )
    shutdown_seconds: float = Field(20.0, gt=0, le=600, description="time to drain on SIGTERM")


class LogSettings(Section):
    """What is logged."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="level")


SECTIONS: tuple[type[Section], ...] = (
    MongoSettings,
    KafkaSettings,
    IngestSettings,
    RetentionSettings,
    HttpSettings,
    LogSettings,
)

AnySection = TypeVar("AnySection", bound=Section)


def read_section(section: type[AnySection]) -> AnySection:
    """Read one section from the environment.

    Raises `StartError` with one line that names the variable and what it accepts, never its value.
    """
    try:
        return section()
    except ValidationError as error:
        raise StartError("; ".join(_faults(section, error))) from None
    except SettingsError as error:  # how the framework wraps what a source raises
        raise StartError(str(error.__cause__ or error)) from None


def _faults(section: type[Section], error: ValidationError) -> list[str]:
    variables = {field: variable for variable, field in section.variables().items()}
    faults = []
    for fault in error.errors(include_url=False, include_input=False):
        text = re.sub(r"^Value error, ", "", fault["msg"])
        if not fault["loc"]:
            faults.append(text)
            continue
        field = str(fault["loc"][0])
        description = section.model_fields[field].description
        faults.append(f"{variables.get(field, field)}: {text} ({description})")
    return faults


def unknown_variables() -> list[str]:
    """Variables with our prefix that no section knows: typing errors, worth a warning."""
    known = {variable for section in SECTIONS for variable in section.variables()}
    known |= {f"{variable}_FILE" for variable in known}
    return sorted(name for name in os.environ if name.startswith("ACTIVITY_") and name not in known)
