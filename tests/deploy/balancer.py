"""A balancer before several API processes: haproxy, which sends requests where `/readyz` is well."""

import csv
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from deploy.local.commands import ApiProcess
from deploy.local.prerequisites import install
from deploy.local.processes import Server, find_free_port

# No retries, no second try elsewhere: a request that meets a process that has gone is a failure.
_CONFIGURATION = """
defaults
  mode http
  retries 0
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout check 2s
  option httpchk GET /readyz
  default-server check inter 100ms fall 1 rise 1

frontend health
  bind 127.0.0.1:{health_port}
  stats enable
  stats uri /

listen public
  bind 127.0.0.1:{port}
  balance roundrobin
{servers}
"""


class Balancer(Server):
    """Answers at `url` from whichever of the processes are ready."""

    name = "The balancer"
    error_pattern = re.compile(r"ALERT")

    def __init__(self, folder: Path, processes: Sequence[ApiProcess]) -> None:
        super().__init__(folder)
        self._processes = processes
        self._health_port = find_free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    async def _prepare(self) -> Sequence[str | Path]:
        servers = "\n".join(
            f"  server api{number} 127.0.0.1:{process.http_port} check port {process.port}"
            for number, process in enumerate(self._processes)
        )
        configuration = self.folder / "haproxy.cfg"
        configuration.write_text(
            _CONFIGURATION.format(port=self.port, health_port=self._health_port, servers=servers)
        )
        return [_find_haproxy(), "-db", "-f", configuration]

    async def _is_ready(self) -> bool:
        """Every process was looked at: until then haproxy takes it for well."""
        url = f"http://127.0.0.1:{self._health_port}/;csv"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            rows = csv.DictReader((await answer.text()).splitlines())
            checks = [row["check_status"] for row in rows if row["svname"].startswith("api")]
        return len(checks) == len(self._processes) and all(
            check and check != "INI" and not check.startswith("*") for check in checks
        )


def _find_haproxy() -> str:
    # Debian keeps it where only root's PATH looks.
    path = f"{os.environ['PATH']}:/usr/sbin"
    if not shutil.which("haproxy", path=path):
        install("haproxy", "the rolling update is rehearsed with haproxy")
    return shutil.which("haproxy", path=path) or "haproxy"
