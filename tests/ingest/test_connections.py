"""On uvloop, a connection that was reset is a broken one to aiokafka."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from consumers.connections import Connection
from deploy.local.stack import Kafka


@pytest.mark.parametrize(
    "write",
    [
        lambda connection: connection.send(ApiVersionRequest()),
        lambda connection: connection._send_sasl_token(b"token"),
    ],
)
def test_what_is_lost_is_broken(kafka_server: Kafka, write: Callable[[Connection], Any]) -> None:
    async def lose() -> None:
        ((host, port, _),) = collect_hosts(kafka_server.bootstrap_servers)
        connection = Connection(host, port)
        await connection.connect()
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the loop knows, the client not yet
        with pytest.raises(KafkaConnectionError, match="is lost"):
            write(connection)
        assert not connection.connected()

    uvloop.run(lose())
