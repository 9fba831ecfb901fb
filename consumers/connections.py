"""Connections to brokers, and whether the brokers let this process in.

On uvloop: where a connection was just reset, uvloop's transport raises `RuntimeError` on a write. aiokafka
expects an `OSError`, or nothing at all (its issue 1038): what asks for metadata would die without a
word, and the member never find its coordinator again. And it keeps to itself that a login was
refused. It has no setting for either, hence this: in place of its connection, for all of the process.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

# Refusals further apart are not one: a broker may not know a new password yet.
FORGET_SECONDS = 15.0


def recognize_lost_connections() -> None:
    """From now on a connection that was reset is one that broke, to aiokafka too. Safe to repeat."""
    conn.AIOKafkaConnection = Connection


class Logins:
    """How long every login has been refused."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: float | None = None
        self._last = 0.0

    def accept(self) -> None:
        self._first = None

    def refuse(self) -> None:
        now = self._clock()
        if self._first is None or now - self._last > FORGET_SECONDS:
            self._first = now
        self._last = now

    @property
    def refused_seconds(self) -> float:
        """From the first refusal to the last one."""
        return 0.0 if self._first is None else self._last - self._first


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """Both ways to write raise `KafkaConnectionError` where the connection is lost."""

    logins: ClassVar[Logins] = Logins()

    async def connect(self) -> Any:
        try:
            answer = await super().connect()
        except SaslAuthenticationFailed:
            self.logins.refuse()
            raise
        self.logins.accept()
        return answer

    def send(self, request: Any, expect_response: bool = True) -> Any:
        with self._breaking():
            return super().send(request, expect_response)

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:
        with self._breaking():
            return super()._send_sasl_token(payload, expect_response)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"{self} is lost: {error}") from error
