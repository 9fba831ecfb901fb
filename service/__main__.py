"""The command line of the service, and the composition root of its API process (contract 4)."""

import asyncio
import logging
import re
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import uvloop

from service.activities.base import ID_PATTERN
from service.api.app import build_following, build_gate, listening
from service.api.openapi import render_document
from service.api.rate_limits import to_throttled
from service.api.readiness import Readiness
from service.commands import Commands, log_start
from service.diagnosis import Finding, report
from service.errors import StartError
from service.garbage import collect_rarely
from service.observability import REQUESTS, configure_logging, count_by, probe_server
from service.settings import (
    HttpSettings,
    LogSettings,
    MongoSettings,
    RetentionSettings,
    read_section,
)
from service.signals import stop_on_signal
from service.store.diagnosis import SERVICE_RIGHTS, examine_mongo
from service.store.indexes import ensure_indexes
from service.store.keys import ApiKey, create_key, find_keys, revoke_key, rotate_key
from service.store.mongo import Mongo, connect, require_mongo

logger = logging.getLogger("service")

Result = TypeVar("Result")

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@click.group(cls=Commands, help="A lead's timeline over HTTP.")
def main() -> None:
    pass


@main.command(name="serve", help="Answer over HTTP until SIGTERM.")
def serve_command() -> None:
    http = read_section(HttpSettings)
    mongo = read_section(MongoSettings)
    retention = read_section(RetentionSettings)
    configure_logging(read_section(LogSettings).log_level)
    uvloop.run(serve(http, mongo, retention))


@main.command(help="Create or check the indexes.")
def indexes() -> None:
    retention = read_section(RetentionSettings)
    # To build one takes as long as it takes; a server that is gone is told by TCP.
    patient = read_section(MongoSettings).model_copy(update={"socket_timeout_seconds": 0})
    _with_mongo(lambda mongo: ensure_indexes(mongo, retention), patient)
    click.echo("The indexes are in place.")


@main.command(help="Look whether MongoDB and the settings are as this process needs them.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(as_json: bool) -> None:
    report(_examine, as_json=as_json)


def _examine() -> list[Finding]:
    mongo, retention = read_section(MongoSettings), read_section(RetentionSettings)
    read_section(HttpSettings)
    return uvloop.run(examine_mongo(mongo, SERVICE_RIGHTS, retention))


@main.command(help="Print the OpenAPI document.")
def openapi() -> None:
    click.echo(render_document())


@main.group(help="API keys: one organization each.")
def keys() -> None:
    pass


def _check_id(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(ID_PATTERN, value):
        raise click.BadParameter("an id is 1 to 128 of A-Z a-z 0-9 _ - . : @")
    return value


def _check_name(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value.isprintable():
        raise click.BadParameter("a name is one line of printable text")
    return value


def _check_rate(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            to_throttled(value)
        except StartError:
            raise click.BadParameter("a rate is like 120/second, /minute, /hour or /day") from None
    return value


class Span(click.ParamType[timedelta]):
    """A length of time: a number and a letter."""

    name = "span"
    _UNITS = {"m": "minutes", "h": "hours", "d": "days"}  # noqa: RUF012 never changed

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> timedelta:
        form = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(value))
        if form is None:
            self.fail("a length of time is like 90d, 12h or 30m", parameter, context)
        return timedelta(**{self._UNITS[form[2]]: int(form[1])})


@keys.command(help="Make a key and print it, this once.")
@click.option("--organization", required=True, callback=_check_id, help="Its organization's id.")
@click.option("--name", default="", callback=_check_name, help="What it is for.")
@click.option("--expires", type=Span(), help="After how long it ends, like 90d; without: never.")
@click.option(
    "--rate", callback=_check_rate, help="Like 120/second, in place of ACTIVITY_RATE_LIMIT."
)
def create(organization: str, name: str, expires: timedelta | None, rate: str | None) -> None:
    _print_key(
        lambda mongo: create_key(mongo, organization, name, expires_after=expires, rate=rate)
    )


@keys.command(help="Make a key like another, which ends after the grace, and print it, this once.")
@click.argument("key_id", metavar="ID")
@click.option("--grace", type=Span(), default="7d", show_default=True, help="Until both are good.")
def rotate(key_id: str, grace: timedelta) -> None:
    async def ask(mongo: Mongo) -> str:
        key = await rotate_key(mongo, key_id, grace)
        if key is None:
            raise click.ClickException(f"there is no key {key_id} in force")
        return key

    _print_key(ask)


def _print_key(ask: Callable[[Mongo], Coroutine[Any, Any, str]]) -> None:
    if sys.stdout is None:
        raise click.ClickException("there is no standard output to print the key to")
    key = _with_mongo(ask)
    try:
        click.echo(key)
    except OSError as error:
        key_id = key.partition(".")[0]
        raise click.ClickException(
            f"{key_id} was made and could not be printed ({error.strerror}): revoke it"
        ) from error


@keys.command(name="list", help="Show every key ever made, but not its secret.")
def list_command() -> None:
    for key in _with_mongo(find_keys):
        click.echo(_describe(key))


@keys.command(help="Put a key out of force, everywhere within 30 seconds.")
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    if not _with_mongo(lambda mongo: revoke_key(mongo, key_id)):
        raise click.ClickException(f"there is no key {key_id}")


async def serve(
    http: HttpSettings, mongo_settings: MongoSettings, retention: RetentionSettings
) -> None:
    """The API process from start to stop. Raises `StartError`, and `Halted` where it stops itself."""
    async with connect(mongo_settings, keeps_feed=retention.keeps_feed) as mongo:
        await require_mongo(mongo)
        readiness = Readiness(mongo)
        await readiness.look()
        following = build_following(mongo, http, retention.feed_hours)
        gate = build_gate(mongo, http, readiness, following)
        with stop_on_signal() as stop:
            async with (
                probe_server(
                    host=http.operations_host,
                    port=http.operations_port,
                    is_alive=_is_alive,
                    is_ready=readiness.check,
                ) as operations_port,
                listening(gate, http) as http_port,
            ):
                log_start(
                    logger,
                    mongo_settings,
                    ("aiohttp", "uvloop"),
                    http_port=http_port,
                    operations_port=operations_port,
                    limits=http.model_dump(mode="json", exclude={"cursor_secret"}),
                )
                collect_rarely()
                await _until(stop, readiness.watch())
                readiness.is_draining = True
                logger.info("stopping")
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(asyncio.sleep(http.drain_delay_seconds), name="drain")
                    tasks.create_task(following.close(_to_spread_seconds(http)), name="end")
    logger.info("stopped", extra={"requests": count_by(REQUESTS, "status")})


def _to_spread_seconds(http: HttpSettings) -> float:
    """In which followers are ended: while balancers turn away, else within a quarter of the drain."""
    return http.drain_delay_seconds or http.shutdown_seconds / 4


async def _until(stop: asyncio.Event, watch: Coroutine[Any, Any, None]) -> None:
    """Returns when stopped; raises what the watch raises."""
    tasks = {
        asyncio.create_task(stop.wait(), name="stop"),
        asyncio.create_task(watch, name="watch store"),
    }
    done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _is_alive() -> str | None:
    """That this is answered at all is the sign of life: the event loop turns."""
    return None


def _describe(key: ApiKey) -> str:
    used = f"used {key.last_used_at:%Y-%m-%dT%H}h" if key.last_used_at else "never used"
    made = f"{key.created_at:{_TIME}}"
    return "  ".join(
        (key.id, key.organization_id, made, _state(key), used, key.rate or "-", key.name)
    )


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at:{_TIME}}"
    if key.expires_at is None:
        return "in force"
    is_over = key.expires_at.replace(tzinfo=UTC) <= datetime.now(UTC)
    return f"{'expired' if is_over else 'expires'} {key.expires_at:{_TIME}}"


def _with_mongo(
    ask: Callable[[Mongo], Coroutine[Any, Any, Result]], settings: MongoSettings | None = None
) -> Result:
    async def run() -> Result:
        async with connect(settings or read_section(MongoSettings)) as mongo:
            await require_mongo(mongo)
            return await ask(mongo)

    return uvloop.run(run())


if __name__ == "__main__":
    main()
