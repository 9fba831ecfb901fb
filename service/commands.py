"""What the command lines of both processes have in common."""

import logging
import platform
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import click

from service.errors import Halted, StartError, StoreError
from service.settings import MongoSettings, unknown_variables


class Commands(click.Group):
    """A failure that an operator can mend is one line on standard error and exit status 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (StartError, Halted, StoreError) as error:
            raise click.ClickException(str(error)) from error


def log_start(
    logger: logging.Logger, mongo: MongoSettings, packages: Iterable[str], **facts: Any
) -> None:
    """The line that tells an operator what has started: addresses, limits (`facts`) and versions of
    Python, this project, the driver and these packages; before it, one for each unknown setting."""
    for variable in unknown_variables():
        logger.warning("unknown setting", extra={"variable": variable})
    versions = {name: version(name) for name in ("activity-service", *packages, mongo.driver)}
    logger.info(
        "started",
        extra={
            **facts,
            "mongo": mongo.address,
            "database": mongo.database,
            "versions": {"python": platform.python_version(), **versions},
        },
    )
