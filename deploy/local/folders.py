"""Where downloads, data and logs live: below `.stack`, which git ignores."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STACK_FOLDER = Path(__file__).parents[2] / ".stack"
LEFTOVER_SECONDS = 900


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[Path]:
    """Hold a folder (made if need be) for oneself; the lock ends with the process at the latest.

    Raises `BlockingIOError` where somebody holds it and one will not wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        os.close(descriptor)


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for the data and logs of one run, gone with it.

    After an error it stays for a quarter of an hour, since a message may have named a log; so
    does what a run that was killed has left.
    """
    with ExitStack() as held:
        with locked(STACK_FOLDER / "runs") as runs:
            _sweep(runs)
            folder = Path(tempfile.mkdtemp(dir=runs))
            held.enter_context(locked(folder))
        is_kept = False
        try:
            yield folder
        except Exception:
            is_kept = True
            raise
        finally:
            if not is_kept:
                shutil.rmtree(folder)


def _sweep(runs: Path) -> None:
    for folder in runs.iterdir():
        with suppress(FileNotFoundError, BlockingIOError):
            if folder.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
                with locked(folder, wait=False):
                    shutil.rmtree(folder)
