"""A command at a terminal: it runs until it is done or told to stop, and cleans up either way."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import click

from service.errors import StartError


def run_in_foreground(main: Coroutine[Any, Any, int]) -> int:
    """Run and return the exit status: its own, 0 after Ctrl-C, SIGTERM or the end of the terminal
    (SIGHUP), 1 after a `StartError`.

    However it ends, what `main` has opened is closed before this returns.
    """
    try:
        return asyncio.run(_ended_by_signal(main))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except StartError as error:
        click.echo(error, err=True)
        return 1


async def _ended_by_signal(main: Coroutine[Any, Any, int]) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 a coroutine always runs in one

    def end() -> None:
        if not task.cancelling():  # once: a second one would cut short what is being closed
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            asyncio.get_running_loop().add_signal_handler(number, end)
    return await main
