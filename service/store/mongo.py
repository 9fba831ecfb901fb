"""The connection to MongoDB, and the seam between its two drivers.

PyMongo's asyncio API and Motor are the same calls but for a few; those few are here, so that no
other module of the store knows which driver it runs on. The drivers' errors end here too.
"""

import asyncio
import re
import time
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import Any

from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import (
    CollectionInvalid,
    EncryptionError,
    ExecutionTimeout,
    InvalidName,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import split_options

from service.errors import (
    Halted,
    LoginRefused,
    StartError,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from service.settings import MongoSettings
from service.store.blame import LOGIN_CODES
from service.store.group_commit import GroupCommit
from service.store.long_threads import LongThreads

# By these the driver says that it is not used as it is meant to be.
_MISUSES = (CollectionInvalid, EncryptionError, InvalidName, InvalidOperation)
LAST_CALL_SECONDS = 1.0
LOGIN_PATIENCE_SECONDS = 30.0
# Where the connection string sets no bound (`maxPoolSize=0`).
UNBOUNDED_POOL_SIZE = 100


@dataclass(frozen=True, slots=True)
class Mongo:
    """One process's connection, with the collections of contract 4; `patience_seconds` is the
    longest wait for one operation, None = for ever. `refreshes` are those of threads, of which the
    long ones stand apart. Where `keeps_feed` is false none is written, and nobody can follow."""

    client: Any
    activities: Any
    api_keys: Any
    feed: Any
    patience_seconds: float | None = None
    keeps_feed: bool = False
    refreshes: GroupCommit[Any] = field(default_factory=GroupCommit)
    long_threads: LongThreads = field(default_factory=LongThreads)
    login: "Login" = field(default_factory=lambda: Login())

    @property
    def max_pool_size(self) -> int:
        """How many operations can be under way at once."""
        size: int | None = self.client.options.pool_options.max_pool_size
        return size or UNBOUNDED_POOL_SIZE


class Login:
    """Whether MongoDB takes the user and the password: they may have been changed meanwhile."""

    def __init__(self) -> None:
        self._refused_since: float | None = None

    def note(self, error: BaseException | None) -> None:
        """How something that was asked has ended. An outage says nothing of the login."""
        if isinstance(error, LoginRefused):
            self._refused_since = self._refused_since or time.monotonic()
        elif error is None:
            self._refused_since = None

    @property
    def is_refused(self) -> bool:
        return self._refused_since is not None

    def require(self) -> None:
        """Raises `Halted` where it has been refused for long: who starts anew reads them again."""
        since = self._refused_since
        if since is not None and time.monotonic() - since > LOGIN_PATIENCE_SECONDS:
            raise Halted(
                "MongoDB refuses the user or password of ACTIVITY_MONGO_URL, for"
                f" {LOGIN_PATIENCE_SECONDS:.0f} seconds by now"
            )


@asynccontextmanager
async def connect(settings: MongoSettings, *, keeps_feed: bool = False) -> AsyncIterator[Mongo]:
    """Connect and close again. Does not wait for a server: `ping` tells whether one answers.

    What the connection string says explicitly is never overridden. Raises `StartError` where it
    cannot be used, or asks for less durability than contract 1.5 promises.
    """
    client = _open(settings)
    try:
        database = client[settings.database]
        patience_seconds = _to_patience(settings)
        yield Mongo(
            client,
            database["activities"],
            database["api_keys"],
            database["feed"],
            patience_seconds,
            keeps_feed,
        )
    finally:
        await _close(client, settings.timeout_seconds)


def to_primary(mongo: Mongo) -> Mongo:
    """The same, asked of the primary: who lags behind does not know what was just written, whatever
    the connection string allows."""
    activities = mongo.activities.with_options(read_preference=ReadPreference.PRIMARY)
    return replace(mongo, activities=activities)


async def ping(mongo: Mongo) -> None:
    """Raises `StoreUnavailable` where no primary answers in time, or refuses the credentials.

    Its text is one line without secrets, fit for a `StartError`.
    """
    try:
        async with asking(mongo):
            await mongo.client.admin.command("ping")
            # `ping` needs no rights; this does, and says what is wrong with the connection string.
            await mongo.activities.find_one({"organization_id": "", "_id": ""}, hint=[("_id", 1)])
    except StoreUnavailable as error:
        # No document is asked for, so that the server's text can repeat none.
        if isinstance(error.__cause__, OperationFailure) and not isinstance(error, LoginRefused):
            raise StoreUnavailable(f"{error}: {_one_line(error.__cause__)}") from error
        raise


async def require_mongo(mongo: Mongo) -> None:
    """Raises `StartError` where a process cannot work with MongoDB."""
    try:
        await ping(mongo)
    except StoreError as error:
        raise StartError(str(error)) from error


@asynccontextmanager
async def asking(mongo: Mongo) -> AsyncIterator[None]:
    """Every call of the driver stands inside one of these.

    `StoreTimeout` for a query past its time limit, `StoreUnavailable` for all else that the server
    says, known or not, and for one that does not answer in time; `LoginRefused` is one of these.
    Anything else is a defect of ours and passes unchanged.
    """
    patience = mongo.patience_seconds
    # What ends with the patience of many may swallow the first call to stop (`asyncio.wait_for`
    # before Python 3.12, in the driver): there is a second one.
    last_call = patience and patience + LAST_CALL_SECONDS
    try:
        async with asyncio.timeout(last_call), asyncio.timeout(patience):
            yield
        mongo.login.note(None)
    except TimeoutError as error:
        raise StoreUnavailable("MongoDB does not answer") from error
    except PyMongoError as error:
        translated = _translate(error)
        if translated is None:
            raise
        mongo.login.note(translated)
        raise translated from error


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
            client = _client_class(settings)(url, **_options(settings, url))
    except (PyMongoError, UserWarning, ValueError, TypeError, OSError) as error:
        raise StartError(f"ACTIVITY_MONGO_URL: {_explain(error, url)}") from None
    _require_durability(client.options.write_concern.document)
    return client


def _require_durability(write_concern: Mapping[str, Any]) -> None:
    """As the driver understood the connection string, and not as it is written: `w=+1` is 1 too.
    Of a concern with a name of its own nobody here knows what it promises."""
    required = {"w": "majority", "j": True}
    for name, value in required.items():
        said = write_concern.get(name, value)
        if said != value:
            option, best = ("w", "majority") if name == "w" else ("journal", "true")
            raise StartError(
                f"ACTIVITY_MONGO_URL: {option}={str(said).lower()} could lose what was acknowledged;"
                f" leave it out or say {option}={best}"
            )


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


def _said(url: str) -> Mapping[str, Any]:
    """What the connection string says, by names in lower case, as the driver reads it."""
    options = url.partition("?")[2]
    return {name.lower(): one for name, one in split_options(options).items()} if options else {}


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
    return {name: value for name, value in options.items() if name.lower() not in said}


def _translate(error: PyMongoError) -> StoreTimeout | StoreUnavailable | None:
    if isinstance(error, ExecutionTimeout):
        return StoreTimeout("the query ran past its time limit")
    if isinstance(error, OperationFailure):
        return _translate_failure(error)
    if isinstance(error, _MISUSES):
        return None
    # A configuration error this late is what only the look-up of a host could tell, and some classes
    # are the driver's own: of a pool, say, that was closed when its server left the replica set.
    return StoreUnavailable(f"MongoDB cannot be reached: {_one_line(error)}")


def _translate_failure(error: OperationFailure) -> StoreUnavailable:
    """Names the code alone: the server's text may repeat what a document holds."""
    details = error.details or {}
    name = f"{details.get('codeName', 'error')} {error.code}"
    if error.code in LOGIN_CODES:
        return LoginRefused(f"MongoDB refuses the user or password of ACTIVITY_MONGO_URL ({name})")
    if "hint provided does not" in str(details.get("errmsg")):
        return StoreUnavailable("an index is missing: run `activity-service indexes`")
    return StoreUnavailable(f"MongoDB cannot do it now ({name})")


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
