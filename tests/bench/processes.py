"""The real commands, as their own processes, the way an operator starts them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from deploy.local.processes import bound_to_parent

START_SECONDS = 30.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """A running command, its ports and its log."""

    pid: int
    port: int
    operations_port: int
    log: Path

    def memory_megabytes(self) -> float:
        """The most memory it ever held (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


@asynccontextmanager
async def running(
    *command: str, environment: dict[str, str], log: Path, tree: Path | None = None
) -> AsyncIterator[Process]:
    """Run `python -m COMMAND`, that of another `tree` if there is one, until its start line is in its
    log; stop it by SIGTERM at the end."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(sys.executable, "-m", *command),
            env=os.environ | environment,
            stderr=output,
            cwd=tree,
        )
    try:
        started = await _started(process, log)
        yield Process(
            process.pid,
            int(started.get("http_port", 0)),
            int(started.get("operations_port", 0)),
            log,
        )
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), STOP_SECONDS)


async def _started(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < deadline and process.returncode is None:
        for line in log.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                entry: dict[str, Any] = orjson.loads(line)
                if entry.get("message") == "started":
                    return entry
        await asyncio.sleep(0.02)
    raise RuntimeError(f"it did not start, see {log}:\n{log.read_text()[-2000:]}")


async def until_ready(process: Process) -> None:
    """Wait until `/readyz` says so."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            async with session.get(f"http://127.0.0.1:{process.operations_port}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)
    raise RuntimeError(f"it did not become ready, see {process.log}")
