"""`make stack`: Kafka and MongoDB until Ctrl-C."""

import asyncio
import signal
import sys

import click

from deploy.local.kafka import create_dead_letter_topic, create_topics
from deploy.local.processes import Server
from deploy.local.stack import Stack, running_stack
from service.errors import StartError
from service.settings import KafkaSettings


async def _serve() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_stack() as stack:
        if isinstance(stack.kafka, Server):
            await _create_topics(stack.kafka.bootstrap_servers)
        click.echo(_describe(stack))
        await stop.wait()
    click.echo("stopped")


async def _create_topics(bootstrap_servers: str) -> None:
    settings = KafkaSettings()
    await create_topics(bootstrap_servers, settings.topics, partitions=2)
    await create_dead_letter_topic(bootstrap_servers, settings.dead_letter_topic)


def _describe(stack: Stack) -> str:
    ours = [server for server in (stack.kafka, stack.mongo) if isinstance(server, Server)]
    logs = [f"# {server.name} is running, its log is {server.log_path}" for server in ours]
    exports = [f"export {name}='{value}'" for name, value in stack.environment().items()]
    return "\n".join([*logs, *exports, "# Ctrl-C stops them"])


def main() -> None:
    try:
        asyncio.run(_serve())
    except StartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
