"""A server as a child process: started, broken and stopped by its own process id."""

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from service.errors import StartError

START_MAX_SECONDS = 60.0
STOP_MAX_SECONDS = 20.0
ANSWER_MAX_SECONDS = 2.0
POLL_SECONDS = 0.02

# A preexec_fn would do the same, but is not safe in a process with threads, which pytest and
# drivers have.
_WITH_PARENT = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


def bound_to_parent(*command: str | Path) -> list[str]:
    """The command, to be killed by the kernel when this process is gone, however it went."""
    launcher = (sys.executable, "-I", "-S", "-c", _WITH_PARENT, str(os.getpid()))
    return [*launcher, *map(str, command)]


def find_free_port() -> int:
    """A port that nobody listens on, below the range that the kernel hands out to clients.

    Inside that range a client that retries while its server is down can end up connected to
    itself, and the server never gets its port back.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 no secret
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One server that can be started, stopped, killed, paused and started again on its data.

    A subclass says what to run and how to ask whether it is ready. Its log is appended to over
    restarts, its port and its folder stay. The process is tied to the thread that started it:
    start servers from the main thread.
    """

    name: str
    error_pattern: re.Pattern[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = find_free_port()
        self.log_path = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start and wait until the server answers.

        Raises `StartError` that says which server, why, and where its log is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            command = await self._prepare()
            self._process = self._run(command)
            async with asyncio.timeout(START_MAX_SECONDS):
                await self._wait_until_ready()
        except TimeoutError:
            self.kill()
            raise StartError(self.complaint("did not answer in time")) from None
        except BaseException:
            self.kill()
            raise

    async def stop(self) -> int:
        """Ask the server to end, wait until it has, answer its exit status."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_MAX_SECONDS)
        self.kill()
        return process.returncode

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. Nothing happens where none runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP, until it has taken effect: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def recover(self) -> None:
        """Have it running and answering, whatever was done to it."""
        if not self.is_running:
            self.kill()
            await self.start()
        self.resume()
        await self._wait_until_ready()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    async def _prepare(self) -> Sequence[str | Path]:
        """Have everything in place (safe to repeat); answer the command that runs the server."""
        raise NotImplementedError

    async def _is_ready(self) -> bool:
        """Ask the server, once. Its port is open."""
        raise NotImplementedError

    async def _wait_until_ready(self) -> None:
        while not await self._answers():
            if not self.is_running:
                raise StartError(self.complaint("ended at once"))
            await asyncio.sleep(POLL_SECONDS)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_MAX_SECONDS):
                return _is_open(self.port) and await self._is_ready()
        except TimeoutError:
            return False

    def _run(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Run a command in a session of its own, out of reach of the terminal's Ctrl-C."""
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 our own commands
                bound_to_parent(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    async def _run_once(self, command: Sequence[str | Path]) -> None:
        """Run a command to its end. Raises `StartError` where it fails."""
        process = self._process = self._run(command)
        if await asyncio.to_thread(process.wait):
            raise StartError(self.complaint("could not be set up"))

    def complaint(self, what: str) -> str:
        """What happened to the server, and the last that its log says of it."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        telling = [line for line in lines if self.error_pattern.search(line)] or lines
        why = "\n".join(f"  {line[:400]}" for line in telling[-3:])
        return f"{self.name} {what}; its log is {self.log_path} and says\n{why}"
