"""What the commands that talk to Kafka have in common."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from consumers.cluster import ClientComplaints, quiet_client, require_kafka
from service.observability import configure_logging
from service.settings import KafkaSettings, LogSettings, read_section

Result = TypeVar("Result")

COMPLAINT_INTERVAL_SECONDS = 30.0


def with_kafka(kafka: KafkaSettings, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run `work` where Kafka answers. Raises `StartError` and `ClickException`, of one line each."""
    configure_consumer_logging()

    async def checked() -> Result:
        with quiet_client():
            await require_kafka(kafka)
            return await work()

    try:
        return asyncio.run(checked())
    except KafkaError as error:
        raise click.ClickException(f"Kafka: {error or type(error).__name__}") from error


def configure_consumer_logging() -> None:
    """JSON logs, in which aiokafka does not repeat itself."""
    configure_logging(read_section(LogSettings).log_level)
    complaints = ClientComplaints(COMPLAINT_INTERVAL_SECONDS)
    for handler in logging.getLogger().handlers:
        handler.addFilter(complaints)
