"""`python -m tests.bench.delay HOST PORT MILLISECONDS`: a proxy as far away as that.

Whatever comes is passed on half of the time later, in each direction, however much is under way.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import uvloop
from pymongo.uri_parser import parse_uri

from tests.bench.processes import running


@asynccontextmanager
async def delayed(mongo_url: str, milliseconds: int, logs: Path) -> AsyncIterator[str]:
    """The address of a MongoDB that is so much further away."""
    host, port = parse_uri(mongo_url)["nodelist"][0]
    command = ("tests.bench.delay", host, str(port), str(milliseconds))
    async with running(*command, environment={}, log=logs / f"delay-{milliseconds}.log") as proxy:
        yield f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Until it ends; what is under way is not waited for before more is read."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while data := await reader.read(256 * 1024):
            loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def serve(host: str, port: str, milliseconds: str) -> None:
    seconds = int(milliseconds) / 2000

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(
            pass_on(reader, far_writer, seconds), pass_on(far_reader, writer, seconds)
        )

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    line = {"message": "started", "http_port": server.sockets[0].getsockname()[1]}
    sys.stderr.write(orjson.dumps(line).decode() + "\n")
    sys.stderr.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(*sys.argv[1:]))
