"""A way to a real server on which single operations are refused.

No failpoint gives a write error of any code: `failCommand` fails a command as a whole, and of some
codes the server itself dies then. So here the messages pass by, and what is to be refused is answered
as a server would answer it.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bson import decode, decode_all, encode
from pymongo import AsyncMongoClient

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_OPERATIONS = {"insert": "documents", "update": "updates"}

Refuse = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Of one operation as the driver sends it: what is wrong with it (`code`, ...), or None."""


@dataclass(slots=True)
class Way:
    """`url` leads to the server. `refuse` judges every insert and update that comes by; the others of
    its command are done, or, where it `refuses_commands`, not. `refused` counts commands."""

    url: str = ""
    refuse: Refuse = lambda _: None
    refuses_commands: bool = False
    refused: int = 0
    _failing: list[tuple[str, int]] = field(default_factory=list)

    def refuse_all(self, code: int, **more: Any) -> None:
        self.refuse = lambda _: {"code": code, **more}

    def fail(self, command: str, code: int, *, times: int) -> None:
        """So many of the next commands of this name fail, and no others."""
        self._failing = [(command, code)] * times

    def next_failure(self, command: str) -> Mapping[str, Any] | None:
        if not self._failing or self._failing[-1][0] != command:
            return None
        _, code = self._failing.pop()
        return {"ok": 0.0, "code": code, "codeName": "Some", "errmsg": "refused"}


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    """Open a way to the server of this connection string."""
    target = urlsplit(url)
    way = Way()
    client = AsyncMongoClient[dict[str, Any]](url)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection(target.hostname, target.port)
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                await asyncio.gather(
                    _pass_on(way, client, reader, writer, server), _pass_back(answers, writer)
                )
            finally:
                server.close()
                writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1")
    # Who hears "no primary" here is to look at once, and to see that there is one.
    options = "directConnection=true&serverMonitoringMode=poll&heartbeatFrequencyMS=500"
    way.url = f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}/?{options}"
    try:
        yield way
    finally:
        server.close()
        await client.close()


async def _pass_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _pass_on(
    way: Way,
    client: AsyncMongoClient[dict[str, Any]],
    reader: asyncio.StreamReader,
    back: asyncio.StreamWriter,
    server: asyncio.StreamWriter,
) -> None:
    while True:
        header = await reader.readexactly(_HEADER.size)
        size, request, _, kind = _HEADER.unpack(header)
        body = await reader.readexactly(size - _HEADER.size)
        answer = await _judge(way, client, body) if kind == _OP_MSG else None
        if answer is None:
            server.write(header + body)
            await server.drain()
            continue
        content = bytes(5) + encode(answer)
        back.write(_HEADER.pack(_HEADER.size + len(content), 0, request, _OP_MSG) + content)
        await back.drain()


async def _judge(
    way: Way, client: AsyncMongoClient[dict[str, Any]], body: bytes
) -> Mapping[str, Any] | None:
    """The answer where something is refused."""
    command, operations = _read(body)
    name = next(iter(command))
    if failure := way.next_failure(name):
        return failure
    if name not in _OPERATIONS:
        return None
    faults = {place: fault for place, one in enumerate(operations) if (fault := way.refuse(one))}
    if not faults:
        return None
    way.refused += 1
    if way.refuses_commands:
        return {"ok": 0.0, "errmsg": "refused", **next(iter(faults.values()))}
    answer: dict[str, Any] = {"ok": 1.0, "n": 0, "nModified": 0}
    places = [place for place in range(len(operations)) if place not in faults]
    if places:
        rest = {key: command[key] for key in (name, "ordered", "writeConcern")}
        rest[_OPERATIONS[name]] = [operations[place] for place in places]
        answer = await client[command["$db"]].command(rest)
    for one in (*answer.get("upserted", ()), *answer.get("writeErrors", ())):
        one["index"] = places[one["index"]]
    errors = [{"index": place, "errmsg": "refused", **fault} for place, fault in faults.items()]
    return {**answer, "writeErrors": [*answer.get("writeErrors", ()), *errors]}


def _read(body: bytes) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The command of a message, and the operations that travel beside it."""
    command: Mapping[str, Any] = {}
    operations: list[Mapping[str, Any]] = []
    place = 4
    while place < len(body):
        kind, place = body[place], place + 1
        (size,) = struct.unpack_from("<i", body, place)
        section, place = body[place : place + size], place + size
        if kind == 0:
            command = decode(section)
        else:
            operations += decode_all(section[section.index(bytes(1), 4) + 1 :])
    return command, operations
