"""`make stack`: Kafka, MongoDB and the service's topics until Ctrl-C."""

import asyncio
import sys

import click

from deploy.local.foreground import run_in_foreground
from deploy.local.kafka import create_dead_letter_topic, create_topics
from deploy.local.processes import Server
from deploy.local.stack import Stack, running_stack
from service.settings import KafkaSettings, read_section


async def _serve() -> int:
    settings = read_section(KafkaSettings)
    async with running_stack() as stack:
        if isinstance(stack.kafka, Server):
            await _create_topics(stack.kafka.bootstrap_servers, settings)
        click.echo(_describe(stack))
        return int(await asyncio.Event().wait())


async def _create_topics(bootstrap_servers: str, settings: KafkaSettings) -> None:
    await create_topics(bootstrap_servers, settings.topics, partitions=2)
    await create_dead_letter_topic(bootstrap_servers, settings.dead_letter_topic)


def _describe(stack: Stack) -> str:
    ours = [server for server in (stack.kafka, stack.mongo) if isinstance(server, Server)]
    logs = [f"# {server.name} is running, its log is {server.log_path}" for server in ours]
    exports = [f"export {name}='{value}'" for name, value in stack.environment().items()]
    end = "# Ctrl-C stops them" if ours else "# nothing was started; Ctrl-C ends this"
    return "\n".join([*logs, *exports, end])


@click.command(help="Kafka and MongoDB with the service's topics, their addresses printed.")
def main() -> None:
    sys.exit(run_in_foreground(_serve()))


if __name__ == "__main__":
    main()
