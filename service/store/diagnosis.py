"""Whether MongoDB is as the service needs it, asked without changing anything there."""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from service.diagnosis import (
    Clock,
    Finding,
    examine_certificate,
    examine_clock,
    failed,
    has_failed,
    judge,
    ok,
    unknown,
)
from service.errors import StoreError
from service.settings import MongoSettings, RetentionSettings
from service.store.indexes import check_expiry, check_indexes
from service.store.mongo import Mongo, asking, connect

Rights = Mapping[str, Sequence[str]]
"""Collection to the actions on it."""

SERVICE_RIGHTS: Rights = {
    "activities": ("find", "listIndexes", "createIndex", "collMod"),
    "api_keys": ("find", "insert", "update"),
    "feed": ("find", "changeStream", "listIndexes", "createIndex", "collMod"),
}
CONSUMER_RIGHTS: Rights = {
    "activities": ("find", "insert", "update", "listIndexes"),
    "feed": ("insert", "listIndexes"),
    "skips": ("find", "insert", "update"),
}

MIN_VERSION = (6, 0)
# A member that was away for a day must be able to catch up, and a follower for as long as is promised.
OPLOG_HOURS = 24
_FULL = 0.9
_NOT_ALLOWED = 13
_START_SET = (
    "start mongod with --replSet NAME, run rs.initiate(), and say replicaSet=NAME in"
    " ACTIVITY_MONGO_URL"
)
_WRONG_LOGIN = (
    "correct USER and PASSWORD in ACTIVITY_MONGO_URL, percent-encoded, and authSource=DATABASE"
    " where the user is not in `admin`"
)
_UNREACHABLE = (
    "correct host and port in ACTIVITY_MONGO_URL, and let the network policy activity-mongodb out"
    " to it"
)


async def examine_mongo(
    settings: MongoSettings,
    rights: Rights,
    retention: RetentionSettings | None = None,
    *,
    keeps_feed: bool = False,
    clock: Clock = lambda: datetime.now(UTC),
) -> list[Finding]:
    """Every check that can be made; `retention` only where the delete markers are one's own. Of a
    feed that is not kept nothing is asked.

    Raises `StartError` where the connection string cannot be used.
    """
    keeps_feed = keeps_feed or (retention is not None and retention.keeps_feed)
    if not keeps_feed:
        rights = {name: actions for name, actions in rights.items() if name != "feed"}
    hours = max(OPLOG_HOURS, retention.feed_hours) if retention is not None else OPLOG_HOURS
    async with connect(settings, keeps_feed=keeps_feed) as mongo:
        findings = await _examine_certificates(settings, clock)
        if has_failed(findings):
            return findings
        findings.append(await _examine_login(mongo, settings))
        if has_failed(findings):
            return findings
        findings += await _examine_server(mongo, hours, clock)
        if has_failed([allowed := await _examine_rights(mongo, settings, rights)]):
            return [*findings, allowed]
        return [*findings, allowed, await _examine_indexes(mongo, retention)]


async def _examine_certificates(settings: MongoSettings, clock: Clock) -> list[Finding]:
    url = settings.url.get_secret_value()
    try:
        parsed = await asyncio.to_thread(parse_uri, url, validate=False)
    except PyMongoError as error:
        # `connect` has read the string: what is left is the look-up of its servers.
        return [failed("MongoDB names", str(error), "correct the host in ACTIVITY_MONGO_URL")]
    options = parsed["options"]
    authority = settings.tls_ca_path or options.get("tlsCAFile")
    if not (options.get("tls") or authority) or options.get("tlsInsecure"):
        return []
    context = ssl.create_default_context(cafile=authority)
    if options.get("tlsCertificateKeyFile"):
        context.load_cert_chain(options["tlsCertificateKeyFile"])
    return [
        await examine_certificate(
            "MongoDB", host, port, context, "ACTIVITY_MONGO_TLS_CA_PATH", clock
        )
        for host, port in parsed["nodelist"]
    ]


async def _examine_login(mongo: Mongo, settings: MongoSettings) -> Finding:
    try:
        async with asking(mongo):
            await mongo.client.admin.command("ping")
    except StoreError as error:
        return failed("MongoDB", str(error), _mend_login(str(error)))
    return ok("MongoDB", f"{settings.address} answers")


def _mend_login(text: str) -> str:
    if "refuses the user or password" in text:
        return _WRONG_LOGIN
    if re.search("replica set|primary", text, re.IGNORECASE):
        return f"{_START_SET}; where there is a set, rs.status() says why it has no primary"
    return _UNREACHABLE


async def _examine_server(mongo: Mongo, oplog_hours: float, clock: Clock) -> list[Finding]:
    admin = mongo.client.admin
    async with asking(mongo):
        before = clock()
        hello = await admin.command("hello")
        after = clock()
        version = (await admin.command("buildInfo"))["version"]
    wanted = ".".join(map(str, MIN_VERSION))
    is_old = tuple(map(int, version.split(".")[:2])) < MIN_VERSION
    return [
        examine_clock("MongoDB", hello["localTime"].replace(tzinfo=UTC), before, after),
        judge(
            "MongoDB version",
            f"{version} is older than {wanted}" if is_old else None,
            f"upgrade it to {wanted} or newer",
            version,
        ),
        _examine_set(hello),
        await _examine_oplog(mongo, oplog_hours, clock),
    ]


def _examine_set(hello: Mapping[str, Any]) -> Finding:
    check = "MongoDB replica set"
    if hello.get("msg") == "isdbgrid":
        return ok(check, "sharded, every shard of which must be one")
    fault = (
        None if "setName" in hello else "this is a standalone server: nothing is majority-durable"
    )
    members = len(hello.get("hosts", ()))
    return judge(
        check,
        fault,
        _START_SET,
        f"{hello.get('setName')}, {members} members with data",
    )


async def _examine_oplog(mongo: Mongo, needed_hours: float, clock: Clock) -> Finding:
    check = "MongoDB oplog"
    oplog = mongo.client.local["oplog.rs"]
    try:
        async with asking(mongo):
            stats = await mongo.client.local.command("collStats", "oplog.rs")
            oldest = await oplog.find_one({}, sort=[("$natural", 1)])
    except (StoreError, OperationFailure):
        return unknown(check, "how far it reaches may only be asked with the role clusterMonitor")
    if oldest is None:
        return unknown(check, "it is empty")
    reach = clock() - oldest["ts"].as_datetime()
    is_young = stats["size"] < _FULL * stats["maxSize"]
    hours = reach.total_seconds() / 3600
    is_short = reach < timedelta(hours=needed_hours) and not is_young
    fault = f"it is full and reaches back {hours:.1f} h of {needed_hours:g}" if is_short else None
    return judge(
        check,
        fault,
        f"db.adminCommand({{replSetResizeOplog: 1, minRetentionHours: {needed_hours:g}}}) on every member",
        "not full yet" if is_young else f"reaches back {hours:.0f} h",
    )


async def _examine_rights(mongo: Mongo, settings: MongoSettings, rights: Rights) -> Finding:
    check = "MongoDB rights"
    async with asking(mongo):
        answer = await mongo.client.admin.command("connectionStatus", showPrivileges=True)
    users = answer["authInfo"]["authenticatedUsers"]
    if not users:
        return ok(check, "no user is asked for")
    privileges = answer["authInfo"]["authenticatedUserPrivileges"]
    missing = [
        f"{action} on {collection}"
        for collection, actions in rights.items()
        for action in actions
        if not any(_allows(one, settings.database, collection, action) for one in privileges)
    ]
    user, database = users[0]["user"], users[0]["db"]
    roles = ", ".join(
        f'{{role: "{role}", db: "{settings.database}"}}' for role in ("readWrite", "dbAdmin")
    )
    return judge(
        check,
        f"{user} may not {', '.join(missing)}" if missing else None,
        f'db.getSiblingDB("{database}").grantRolesToUser("{user}", [{roles}])',
        f"{user} may do all that is needed in {settings.database}",
    )


def _allows(privilege: Mapping[str, Any], database: str, collection: str, action: str) -> bool:
    resource = privilege["resource"]
    covers = resource.get("anyResource") or (
        resource.get("db") in ("", database) and resource.get("collection") in ("", collection)
    )
    return bool(covers) and action in privilege["actions"]


async def _examine_indexes(mongo: Mongo, retention: RetentionSettings | None) -> Finding:
    faults = await check_indexes(mongo)
    if retention is not None and not faults:
        faults = [fault for fault in [await check_expiry(mongo, retention)] if fault]
    return judge(
        "MongoDB indexes",
        ", ".join(faults) or None,
        "`activity-service indexes`, as every API pod does before it starts; one of another shape must be"
        " dropped first",
        "all are in place",
    )
