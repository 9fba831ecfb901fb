"""A consumer that dies, for real, before one of its steps.

`python -m tests.ingest.crashing STEP TIME`: `activity-consumers run`, killed by SIGKILL when STEP is
about to be taken for the TIME-th time. The steps are wrapped here; the product knows nothing of it.
"""

import os
import signal
import sys
from typing import Any

import aiokafka

import consumers.writer
import service.store.threads
from consumers.__main__ import main
from consumers.batch import Batch
from consumers.dead_letters import DeadLetterProducer
from consumers.pipeline import Pipeline

# Each step in the order in which a batch comes by; a crash comes right before it.
STEPS: dict[str, tuple[Any, str]] = {
    "take": (Pipeline, "take"),
    "fill": (Batch, "fill"),
    "write activities": (consumers.writer, "write_changes"),
    "refresh threads": (consumers.writer, "refresh_threads"),
    "read what threads to refresh": (service.store.threads, "read_marks"),
    "read versions": (service.store.threads, "read_versions"),
    "read members": (service.store.threads, "read_members"),
    "write threads": (service.store.threads, "write_threads"),
    "write the feed": (service.store.threads, "write_feed"),
    "clear marks": (service.store.threads, "clear_marks"),
    "publish dead letters": (DeadLetterProducer, "try_each"),
    "commit": (aiokafka.AIOKafkaConsumer, "commit"),
}


def crash_before(step: str, time: int) -> None:
    """Have this process die before the step is taken for the `time`-th time."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    left = time

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    _, step_name, count = sys.argv
    crash_before(step_name, int(count))
    main(["run"])
