"""What is started here hears the signals that the tests send, however the suite itself was started."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HEARD = (signal.SIGINT, signal.SIGHUP)


@contextmanager
def heard_by_children() -> Iterator[None]:
    """A shell's background job ignores SIGINT, under nohup SIGHUP, too, and what it starts inherits
    that. A handler is not inherited: one that does nothing keeps the suite as deaf as it was."""
    before = {number: signal.getsignal(number) for number in HEARD}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    with heard_by_children():
        yield
