"""`make demo`: the whole road at work, from events in Kafka to answers over HTTP."""

import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import click

from deploy.local.demo import acts
from deploy.local.demo.clients import running_app, running_producer
from deploy.local.demo.display import Display
from deploy.local.demo.journal import Journal
from deploy.local.demo.place import (
    Place,
    Processes,
    choose_place,
    furnished,
    require_external,
    running_processes,
)
from deploy.local.demo.playground import show_lines, show_page, watch
from deploy.local.demo.story import tell
from deploy.local.folders import run_folder
from deploy.local.foreground import run_in_foreground
from deploy.local.stack import running_stack


async def demonstrate(*, once: bool) -> int:
    """The whole demo; its exit status. Raises `StartError` where something does not start."""
    display = Display()
    async with AsyncExitStack() as until_the_end:
        enter = until_the_end.enter_async_context
        folder = until_the_end.enter_context(run_folder())
        with display.step("Kafka and MongoDB are up"):
            stack = await enter(running_stack())
            await require_external(stack)
        place = choose_place(stack)
        with display.step("topics, indexes and an API key are made"):
            key = await enter(furnished(place))
        with display.step("a consumer and the API are ready"):
            processes = await enter(running_processes(place, folder))
        try:
            journal = await _perform(display, place, processes, key)
            if not once:
                show_lines(display, place, processes.api.url, key)
                show_page(display, processes.api.url, key)
                display.heading("Serving until Ctrl-C; rejected records are told here")
                await watch(display, place, processes, journal)
        finally:
            with display.step("the consumer and the API have stopped"):
                statuses = await processes.stop()
            display.claim("both ended by themselves, status 0", is_so=statuses == (0, 0))
    return display.conclude()


async def _perform(display: Display, place: Place, processes: Processes, key: str) -> Journal:
    async with (
        running_app(processes.api.url, key) as app,
        running_producer(place.bootstrap_servers) as producer,
    ):
        operations_url = f"http://127.0.0.1:{processes.consumer.operations_port}"
        stage = acts.Stage(place, tell(datetime.now(UTC)), producer, app, operations_url, display)
        await acts.publish_story(stage)
        await acts.show_outcomes(stage)
        await acts.show_timeline(stage)
        await acts.show_conversations(stage)
        await acts.show_live(stage)
        await acts.show_addresses(stage, key)
        return stage.story.journal


@click.command(help="Show the service at work, on servers of its own.")
@click.option("--once", is_flag=True, help="End by itself; status 1 if anything shown is not so.")
def main(*, once: bool) -> None:
    sys.exit(run_in_foreground(demonstrate(once=once)))


if __name__ == "__main__":
    main()
