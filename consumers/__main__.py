"""The command line of the consumers (contract 4)."""

import logging
from typing import Any

import click
import uvloop

from consumers.cluster import ClientComplaints
from consumers.process import consume
from service.errors import Halted, StartError
from service.observability import configure_logging
from service.settings import (
    IngestSettings,
    KafkaSettings,
    LogSettings,
    MongoSettings,
    read_section,
)

COMPLAINT_INTERVAL_SECONDS = 30.0


class Commands(click.Group):
    """A failure that an operator can mend is one line on standard error and exit status 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (StartError, Halted) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, help="Activity events from Kafka into MongoDB.")
def main() -> None:
    pass


@main.command(help="Work off events until SIGTERM.")
def run() -> None:
    kafka = read_section(KafkaSettings)
    mongo = read_section(MongoSettings)
    ingest = read_section(IngestSettings)
    _configure_logging()
    uvloop.run(consume(kafka, mongo, ingest))


def _configure_logging() -> None:
    configure_logging(read_section(LogSettings).log_level)
    complaints = ClientComplaints(COMPLAINT_INTERVAL_SECONDS)
    for handler in logging.getLogger().handlers:
        handler.addFilter(complaints)


if __name__ == "__main__":
    main()
