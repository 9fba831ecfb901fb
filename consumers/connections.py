"""Connections to brokers on uvloop.

Where a connection was just reset, uvloop's transport raises `RuntimeError` on a write. aiokafka
expects an `OSError`, or nothing at all (its issue 1038): what asks for metadata would die without a
word, and the member never find its coordinator again. It has no setting for that, hence this: in
place of its connection, for all of the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError


def recognize_lost_connections() -> None:
    """From now on a connection that was reset is one that broke, to aiokafka too. Safe to repeat."""
    conn.AIOKafkaConnection = Connection


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """Both ways to write raise `KafkaConnectionError` where the connection is lost."""

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
