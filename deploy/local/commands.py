"""The service's own commands as child processes, the way an operator runs them."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from deploy.local.processes import Server, find_free_port
from service.errors import StartError

PROJECT = Path(__file__).parents[2]


class Command(Server):
    """A long-running command. It is ready when its `/readyz` says so.

    `environment` goes over this process's own. The ports are free ones, chosen here.
    """

    error_pattern = re.compile(r"ERROR|CRITICAL|^Error")
    arguments: Sequence[str]

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.operations_port = self.port
        self._settings = environment

    async def _prepare(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", *self.arguments]

    async def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.operations_port}/readyz"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def _environment(self) -> Mapping[str, str]:
        probes = {
            "ACTIVITY_OPERATIONS_HOST": "127.0.0.1",
            "ACTIVITY_OPERATIONS_PORT": str(self.operations_port),
        }
        return {**os.environ, "PYTHONPATH": str(PROJECT), **self._settings, **probes}


class ConsumerProcess(Command):
    """`activity-consumers run`."""

    name = "The consumer"
    arguments = ("consumers", "run")


class ApiProcess(Command):
    """`activity-service serve`, answering at `url`."""

    name = "The API"
    arguments = ("service", "serve")

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder, environment)
        self.http_port = find_free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/api/v1"

    def _environment(self) -> Mapping[str, str]:
        ports = {"ACTIVITY_HTTP_HOST": "127.0.0.1", "ACTIVITY_HTTP_PORT": str(self.http_port)}
        return {**super()._environment(), **ports}


async def run_command(*arguments: str, environment: Mapping[str, str]) -> str:
    """Run a short command to its end; answer its standard output.

    Raises `StartError` with what it said on standard error where it fails.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env={**os.environ, **environment},
    )
    output, complaint = await process.communicate()
    if process.returncode:
        raise StartError(f"{' '.join(arguments)}: {complaint.decode().strip()}")
    return output.decode().strip()
