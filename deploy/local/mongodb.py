"""A real MongoDB: one mongod as a replica set of one, as a child process."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from deploy.local.prerequisites import find_mongod
from deploy.local.processes import Server

_REPLICA_SET = "local"
_ALREADY_INITIALIZED = 23
_CLIENT_OPTIONS = {"serverSelectionTimeoutMS": 500, "connectTimeoutMS": 500}


class MongoServer(Server):
    """`arguments` go to mongod; `client_options` are what a client then needs (TLS, a password).

    `with_failpoints` allows `configureFailPoint`, by which a test makes commands fail.
    """

    name = "MongoDB"
    error_pattern = re.compile(r'"s":"[EF]"|error while loading')

    def __init__(
        self,
        folder: Path,
        *,
        arguments: Sequence[str] = (),
        client_options: Mapping[str, Any] | None = None,
        cache_gigabytes: float | None = 1,
        with_failpoints: bool = False,
        oplog_megabytes: int = 1024,
    ) -> None:
        super().__init__(folder)
        self._cache = (
            () if cache_gigabytes is None else ("--wiredTigerCacheSizeGB", str(cache_gigabytes))
        )
        self._arguments = arguments
        self._client_options = client_options or {}
        self._with_failpoints = with_failpoints
        self._oplog_megabytes = oplog_megabytes

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={_REPLICA_SET}"

    async def _prepare(self) -> Sequence[str | Path]:
        (self.folder / "data").mkdir(exist_ok=True)
        return [
            await asyncio.to_thread(find_mongod),
            *("--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
            *("--dbpath", self.folder / "data"),
            *("--replSet", _REPLICA_SET, "--oplogSize", str(self._oplog_megabytes)),
            *self._cache,
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", f"enableTestCommands={int(self._with_failpoints)}"),
            *self._arguments,
        ]

    async def _is_ready(self) -> bool:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            f"mongodb://127.0.0.1:{self.port}/?directConnection=true",
            **{**_CLIENT_OPTIONS, **self._client_options},
        )
        async with client:
            try:
                hello = await client.admin.command("hello")
                if "setName" not in hello:
                    await self._initiate(client)
                return bool(hello["isWritablePrimary"])
            except ConnectionFailure:
                return False

    async def _initiate(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
        configuration = {"_id": _REPLICA_SET, "members": members}
        try:
            await client.admin.command("replSetInitiate", configuration)
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise
