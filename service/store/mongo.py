"""The connection to MongoDB, and the seam between its two drivers.

PyMongo's asyncio API and Motor are the same calls but for a few; those few are here, so that no
other module of the store knows which driver it runs on. The drivers' errors end here too.
"""

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any
from urllib.parse import parse_qsl

from pymongo import AsyncMongoClient, ReplaceOne, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from service.errors import StartError, StoreError, StoreTimeout, StoreUnavailable
from service.settings import MongoSettings
from service.store.group_commit import GroupCommit

# Codes of MongoDB's error_codes.yml that say "not now" of any operation: to be repeated, never the
# fault of a document.
TRANSIENT_CODES = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        43,  # CursorNotFound
        46,  # LockBusy
        50,  # MaxTimeMSExpired
        63,  # StaleShardVersion
        64,  # WriteConcernFailed
        70,  # ShardNotFound
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        100,  # UnsatisfiableWriteConcern
        112,  # WriteConflict
        117,  # ConflictingOperationInProgress
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        146,  # ExceededMemoryLimit
        150,  # StaleEpoch
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        237,  # CursorKilled
        249,  # StaleChunkHistory
        262,  # ExceededTimeLimit
        317,  # ConnectionPoolExpired
        365,  # TemporarilyUnavailable
        384,  # ConnectionError
        391,  # ReauthenticationRequired
        9001,  # SocketException
        10058,  # LegacyNotPrimary
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace
    }
)
CREDENTIAL_CODES = frozenset(
    {
        11,  # UserNotFound
        13,  # Unauthorized
        18,  # AuthenticationFailed
        8000,  # Atlas: bad auth
    }
)
DUPLICATE_KEY = 11000
LAST_CALL_SECONDS = 1.0
_BAD_VALUE = 2


@dataclass(frozen=True, slots=True)
class Mongo:
    """One process's connection, with the two collections of contract 4; `patience_seconds` is the
    longest wait for one operation, None = for ever. `refreshes` are those of threads."""

    client: Any
    activities: Any
    api_keys: Any
    patience_seconds: float | None = None
    refreshes: GroupCommit[Any] = field(default_factory=GroupCommit)


@asynccontextmanager
async def connect(settings: MongoSettings) -> AsyncIterator[Mongo]:
    """Connect and close again. Does not wait for a server: `ping` tells whether one answers.

    What the connection string says explicitly is never overridden. Raises `StartError` where it
    cannot be used, or asks for less durability than contract 1.5 promises.
    """
    client = _open(settings)
    try:
        database = client[settings.database]
        patience_seconds = _to_patience(settings)
        yield Mongo(client, database["activities"], database["api_keys"], patience_seconds)
    finally:
        await _close(client, settings.timeout_seconds)


async def ping(mongo: Mongo) -> None:
    """Raises `StoreUnavailable` where no primary answers in time, or refuses the credentials.

    Its text is one line without secrets, fit for a `StartError`.
    """
    try:
        async with asking(mongo):
            await mongo.client.admin.command("ping")
            # `ping` needs no rights; this does, and says what is wrong with the connection string.
            await mongo.activities.find_one({"organization_id": "", "_id": ""}, hint=[("_id", 1)])
    except OperationFailure as error:
        raise StoreUnavailable(f"MongoDB refuses to be asked: {_one_line(error)}") from error


async def require_mongo(mongo: Mongo) -> None:
    """Raises `StartError` where a process cannot work with MongoDB."""
    try:
        await ping(mongo)
    except StoreError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def asking(mongo: Mongo) -> AsyncIterator[None]:
    """Every call of the driver stands inside one of these.

    `StoreTimeout` for a query past its time limit, `StoreUnavailable` for whatever may go better
    later, a server that does not answer in time too. Anything else is a defect of ours and passes
    unchanged.
    """
    patience = mongo.patience_seconds
    # What ends with the patience of many may swallow the first call to stop (`asyncio.wait_for`
    # before Python 3.12, in the driver): there is a second one.
    last_call = patience and patience + LAST_CALL_SECONDS
    try:
        async with asyncio.timeout(last_call), asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise StoreUnavailable("MongoDB does not answer") from error
    except PyMongoError as error:
        translated = _translate(error)
        if translated is None:
            raise
        raise translated from error


async def write_unordered(mongo: Mongo, operations: Sequence[Any]) -> dict[int, int]:
    """Run all operations on activities, of which a document is to be inserted; answer MongoDB's error
    code of each that failed, by its place.

    Inserts and updates go apart: a driver that may repeat a bulk of both, and got no connection for
    it at first, runs the first kind only and reports success (seen with PyMongo 4.20).
    Raises `StoreUnavailable` where the rest is not known to be durable.
    """
    inserts, updates = list[int](), list[int]()
    for place, one in enumerate(operations):
        (updates if isinstance(one, (ReplaceOne, UpdateOne)) else inserts).append(place)
    insert, update = mongo.activities.insert_many, mongo.activities.bulk_write
    faults: dict[int, int] = {}
    for write, places in ((insert, inserts), (update, updates)):
        if places:
            codes = await _write(mongo, write, [operations[place] for place in places])
            faults |= {places[index]: code for index, code in codes.items()}
    return faults


async def _write(
    mongo: Mongo, write: Callable[..., Awaitable[Any]], operations: Sequence[Any]
) -> dict[int, int]:
    async with asking(mongo):
        try:
            await write(operations, ordered=False)
        except BulkWriteError as error:
            # The details hold whole documents: they are neither logged nor chained.
            details = error.details
        else:
            return {}
    if details.get("writeConcernErrors"):
        raise StoreUnavailable("MongoDB cannot make it durable now")
    return {fault["index"]: fault["code"] for fault in details["writeErrors"]}


async def _close(client: Any, max_seconds: float) -> None:
    """Closing says goodbye to the server; one that does not answer must not keep the process."""
    closed = client.close()
    if isawaitable(closed):
        with suppress(TimeoutError):
            async with asyncio.timeout(max_seconds):
                await closed


def _open(settings: MongoSettings) -> Any:
    url = settings.url.get_secret_value()
    try:
        with warnings.catch_warnings():
            # The driver only warns of an option it does not know: a typing error, so the end.
            warnings.simplefilter("error", UserWarning)
            return _client_class(settings)(url, **_options(settings, url))
    except (PyMongoError, UserWarning, ValueError, TypeError, OSError) as error:
        raise StartError(f"ACTIVITY_MONGO_URL: {_explain(error, url)}") from None


def _client_class(settings: MongoSettings) -> Any:
    if settings.driver == "pymongo":
        return AsyncMongoClient
    from motor.motor_asyncio import AsyncIOMotorClient  # only where it was chosen

    return AsyncIOMotorClient


def _to_patience(settings: MongoSettings) -> float | None:
    """None where the connection string gives its own, which the driver keeps."""
    if "sockettimeoutms" in _said(settings.url.get_secret_value()):
        return None
    return settings.socket_timeout_seconds or None


def _said(url: str) -> dict[str, str]:
    """What the connection string says, by names in lower case."""
    return {name.lower(): value for name, value in parse_qsl(url.partition("?")[2])}


def _options(settings: MongoSettings, url: str) -> dict[str, Any]:
    wait = int(settings.timeout_seconds * 1000)
    options: dict[str, Any] = {
        "appname": "activity-service",
        "connectTimeoutMS": wait,
        "maxPoolSize": settings.max_pool_size,
        # Writes of activities are guarded, and whoever makes them repeats them. For the driver to do
        # so the server notes each update on the side, a sixth of its work on them.
        "retryWrites": False,
        "serverSelectionTimeoutMS": wait,
        "tz_aware": False,
        "w": "majority",
        "waitQueueTimeoutMS": wait,
    }
    if settings.driver == "motor":
        # Nobody can call its threads back. The other is called back (`asking`): its own timeout
        # makes a task of every message it sends.
        options["socketTimeoutMS"] = int(settings.socket_timeout_seconds * 1000)
    if settings.tls_ca_path is not None:
        options |= {"tls": True, "tlsCAFile": str(settings.tls_ca_path)}
    said = _said(url)
    if said.get("w", "majority").isdecimal():
        raise StartError(
            f"ACTIVITY_MONGO_URL: w={said['w']} could lose what was acknowledged;"
            " leave it out or say w=majority"
        )
    return {name: value for name, value in options.items() if name.lower() not in said}


def _translate(error: PyMongoError) -> StoreTimeout | StoreUnavailable | None:
    if isinstance(error, ExecutionTimeout):
        return StoreTimeout("the query ran past its time limit")
    # A configuration error this late is what only the look-up of a host could tell.
    if isinstance(error, ConnectionFailure | ConfigurationError):
        return StoreUnavailable(f"MongoDB cannot be reached: {_one_line(error)}")
    if isinstance(error, CursorNotFound | WriteConcernError):
        return StoreUnavailable(f"MongoDB cannot do it now ({type(error).__name__})")
    if isinstance(error, OperationFailure):
        return _translate_failure(error)
    return None


def _translate_failure(error: OperationFailure) -> StoreUnavailable | None:
    details = error.details or {}
    name = f"{details.get('codeName', 'error')} {error.code}"
    if error.code in CREDENTIAL_CODES:
        return StoreUnavailable(
            f"MongoDB refuses the user or password of ACTIVITY_MONGO_URL ({name})"
        )
    if error.code in TRANSIENT_CODES or error.has_error_label("RetryableWriteError"):
        return StoreUnavailable(f"MongoDB cannot do it now ({name})")
    if error.code == _BAD_VALUE and "hint provided does not" in str(details.get("errmsg")):
        return StoreUnavailable("an index is missing: run `activity-service indexes`")
    return None


def _explain(error: Exception, url: str) -> str:
    """The driver's text, unless it repeats what may be a password: one that is not percent-encoded
    is taken for a host, a port or a database."""
    text = _one_line(error)
    private = url.rpartition("@")[0] or url.partition("?")[0]
    if {*re.findall(r"\w+", private.partition("://")[2])} & {*re.findall(r"\w+", text)}:
        return (
            "cannot be read; it is mongodb://USER:PASSWORD@HOST:PORT/?OPTIONS, with user and"
            " password percent-encoded"
        )
    return text


def _one_line(error: Exception) -> str:
    """The driver's text, without its description of the topology and its settings."""
    text = str(error).partition(" (configured timeouts")[0].partition(", Timeout:")[0]
    return " ".join(text.partition(", full error")[0].split())
