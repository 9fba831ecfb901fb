"""What an operator reads: logs, metrics and probes.

Every metric is declared here, with its unit and what a rise of it means. Nothing in a log or a
metric may hold an activity's content or a secret.
"""

import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import get_args

from aiohttp import web
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pythonjsonlogger.json import JsonFormatter

from service.errors import RejectionCode, StartError

# Seconds. From one fast find up to the longest time limit.
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Records, from a lone live event to a full batch of a backlog.
SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)

# --- both ---------------------------------------------------------------------------------------
READY = Gauge(
    "activity_ready",
    "1 while the process says that it is ready, 0 while `/readyz` says why not. 0 everywhere: MongoDB"
    " or Kafka is away, or the indexes are missing.",
)

# --- the API ------------------------------------------------------------------------------------
REQUESTS = Counter(
    "activity_http_requests",
    "Requests answered. A rise of 5xx: MongoDB is away or the service is over capacity.",
    ["route", "method", "status"],
)
REQUEST_SECONDS = Histogram(
    "activity_http_request_seconds",
    "From the request's headers to its answer, compressed. A rise: slow queries or a full queue.",
    ["route"],
    buckets=LATENCY_BUCKETS,
)
REQUESTS_IN_FLIGHT = Gauge(
    "activity_http_requests_in_flight", "Requests being worked on, look-ups of keys included."
)
REQUESTS_WAITING = Gauge(
    "activity_http_requests_waiting",
    "Requests that wait for their turn. Not zero for long: add processes, or see who asks so much.",
)
PLACES = Gauge(
    "activity_http_places",
    "How many requests that an index answers may be worked on at once. It rises while MongoDB is what"
    " limits, up to its pool of connections, and falls while this process is.",
)
BUSIEST_KEY_SHARE = Gauge(
    "activity_http_busiest_key_share",
    "What the busiest key has of all that is being worked on, 0 to 1. High while others wait: one"
    " key's crowd.",
)
WAIT_SECONDS = Histogram(
    "activity_http_wait_seconds",
    "From asking for a turn to having it or being refused, by lane (indexed, filtered, large,"
    " lookups). A rise: add processes. The sum a second is how many wait on average.",
    ["lane"],
    buckets=LATENCY_BUCKETS,
)
REQUESTS_REFUSED = Counter(
    "activity_http_requests_refused",
    "Requests refused, by cause: wait (no turn in time), unread (their key's answers wait for clients"
    " that do not take them), unknown_keys (an address with too many of them), connections (too many"
    " of them). A rise of wait: add processes.",
    ["cause"],
)
for _cause in ("wait", "unread", "unknown_keys", "connections"):
    # From 0 on, or Prometheus would not see the first one of a cause as a rise.
    REQUESTS_REFUSED.labels(_cause)
BYTES_UNSENT = Gauge(
    "activity_http_bytes_unsent",
    "Bytes of large answers that wait to be compressed, or to be taken by their clients. High: they"
    " read slowly, or not at all.",
)
CONNECTIONS_CLOSED = Counter(
    "activity_http_connections_closed",
    "Connections closed before their time, by cause: unread (a client did not take its answer), idle"
    " (to make room for a new one).",
    ["cause"],
)
ODD_DOCUMENTS = Counter(
    "activity_odd_documents",
    "Documents shown though they hold what JSON does not, such as only a hand or a script writes. A"
    " rise: the log names organization and id.",
)
FIND_SECONDS = Histogram(
    "activity_store_find_seconds",
    "One question to MongoDB, by what was asked. A rise: indexes fell out of memory.",
    ["shape"],
    buckets=LATENCY_BUCKETS,
)

FOLLOWERS = Gauge(
    "activity_followers", "Listings that are followed now. At its limit: add processes."
)
FOLLOWERS_CLOSED = Counter(
    "activity_followers_closed",
    "Followers that went, by cause: client (left), slow (did not take what it was sent), shutdown,"
    " revoked (its key), lost (the feed does not reach back so far), failed (a defect of ours).",
    ["cause"],
)
for _cause in ("client", "slow", "shutdown", "revoked", "lost", "failed"):
    FOLLOWERS_CLOSED.labels(_cause)
FEED_AGE_SECONDS = Gauge(
    "activity_feed_age_seconds",
    "Since the feed was last read, 0 while nobody follows. A rise: it cannot be read, and followers"
    " hear nothing.",
)
FEED_REACHES = Gauge(
    "activity_feed_reaches",
    "1 where MongoDB's oplog reaches back as far as followers may come again, else 0, and NaN where it"
    " may not be looked into. Looked at while somebody follows.",
)
FEED_REACHES.set(1)
EVENTS_PUSHED = Counter(
    "activity_follow_events", "Events given to followers, each counted for each of them."
)
FOLLOWED_EVALUATIONS = Counter(
    "activity_follow_evaluations",
    "Questions to MongoDB on account of changes in followed listings, one for all its followers.",
)
FOLLOW_LAG_SECONDS = Histogram(
    "activity_follow_lag_seconds",
    "From a change's being told in the feed to its being given to followers. A rise: MongoDB is slow,"
    " or too much is followed here.",
    buckets=LATENCY_BUCKETS,
)

# --- the consumers ------------------------------------------------------------------------------
RECORDS = Counter(
    "activity_records",
    "Records worked off, by what became of them: applied, stale (overtaken by a newer one), duplicate"
    " (repeated), ignored (no activity event), rejected (a dead letter).",
    ["topic", "outcome"],
)
DEVIATIONS = Counter(
    "activity_deviations",
    "Known fields kept though not of their type. A rise: the producers' schema has moved on.",
    ["type", "field"],
)
DEAD_LETTERS = Counter(
    "activity_dead_letters",
    "Records set aside, by code. A rise: read them with `activity-consumers dead-letters list`.",
    ["code"],
)
for _code in get_args(RejectionCode):
    # From 0 on, or Prometheus would not see the first one of a code as a rise.
    DEAD_LETTERS.labels(_code)
DEAD_LETTERS_WITHOUT_VALUE = Counter(
    "activity_dead_letters_without_value",
    "Dead letters whose records the dead-letter topic refuses, by its error: they only name the record."
    " A rise: see the topic's settings, and look for the records in their own topics.",
    ["refusal"],
)
RECORDS_PUT_OFF = Gauge(
    "activity_records_put_off",
    "Records that MongoDB refuses while it takes others: tried again, and a dead letter `refused` in"
    " the end. Not zero: the log names each, with the server's reason.",
)
FUSE_HELD = Gauge(
    "activity_fuse_held",
    "1 for the organization whose faulty records alone would have blown the fuse: its producer is"
    " broken. Its records are set aside, those of the others go on.",
    ["organization"],
)
BATCH_RECORDS = Histogram(
    "activity_batch_records",
    "Records of one batch. Large: there is a backlog.",
    buckets=SIZE_BUCKETS,
)
BATCH_SECONDS = Histogram(
    "activity_batch_seconds",
    "One batch from its first write to durable. A rise: MongoDB is slow.",
    buckets=LATENCY_BUCKETS,
)
THREADS_REFRESHED = Counter(
    "activity_threads_refreshed", "Email threads recomputed. Far above emails: moves and races."
)
MEMBERS_UNREADABLE = Counter(
    "activity_members_unreadable",
    "Emails that a refresh of their thread passed over, since a hand or a script has written what no"
    " event says. A rise: the log names each.",
)
LAG_RECORDS = Gauge(
    "activity_lag_records",
    "Records of a partition not yet durable. A steady rise: add consumers.",
    ["topic", "partition"],
)
LAG_SECONDS = Gauge(
    "activity_lag_seconds",
    "Age of the oldest record of a partition not yet durable. The one figure users feel.",
    ["topic", "partition"],
)
OLDEST_RECORD_SECONDS = Gauge(
    "activity_oldest_record_seconds",
    "Age of the oldest record fetched and not yet durable, over all partitions.",
)
BYTES_IN_FLIGHT = Gauge(
    "activity_bytes_in_flight", "Record bytes fetched and not yet durable. Bounded by a setting."
)
RETRIES = Counter(
    "activity_retries",
    "Attempts repeated, by cause. A rise: an outage is being waited out.",
    ["cause"],
)
PARTITIONS_PAUSED = Gauge(
    "activity_partitions_paused", "Partitions held back. Not zero for long: an outage."
)
PARTITIONS_UNREADABLE = Gauge(
    "activity_partitions_unreadable",
    "1 for a partition that is set apart because it cannot be read; the others go on. The log and"
    " `/readyz` say why.",
    ["topic", "partition"],
)
RECORDS_SKIPPED = Counter(
    "activity_records_skipped",
    "Records that were never read, by why: expired (retention passed while nobody read them), decided"
    " (`activity-consumers skip`). A rise: they are lost here; see the log for which.",
    ["topic", "reason"],
)
POSITIONS_RESET = Counter(
    "activity_positions_reset",
    "Committed positions that Kafka does not hold any more, by why: expired (retention has passed),"
    " recreated (another topic of the same name), truncated. A rise: see the log for what is missing.",
    ["topic", "reason"],
)
PARTITIONS_ASSIGNED = Gauge("activity_partitions_assigned", "Partitions this member works on.")
REBALANCES = Counter(
    "activity_rebalances", "Assignments received. A rise without deployments: members flap."
)
COMMITS = Counter(
    "activity_commits",
    "Position commits, by outcome: committed, lost to a rebalance, failed.",
    ["outcome"],
)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, one an event; library chatter only from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("service", "consumers"):
        logging.getLogger(name).setLevel(level)


def count_by(counter: Counter, label: str) -> dict[str, int]:
    """What this process has counted, by the values of one label: for its stop line."""
    counts: dict[str, int] = {}
    for sample in next(iter(counter.collect())).samples:
        if sample.name.endswith("_total"):
            value = sample.labels[label]
            counts[value] = counts.get(value, 0) + int(sample.value)
    return counts


Check = Callable[[], Awaitable[str | None]]


@asynccontextmanager
async def probe_server(
    *,
    host: str | None,
    port: int,
    is_alive: Check,
    is_ready: Check,
    note: Callable[[], str | None] = lambda: None,
) -> AsyncIterator[int]:
    """Serve `/healthz`, `/readyz` and `/metrics` on one address, or on every interface; yields the
    port in use.

    A check returns None when all is well, else the reason, which becomes a 503; `note` says what is
    not well all the same. Raises `StartError` where the address cannot be listened on.
    """

    async def answer(check: Check) -> web.Response:
        reason = await check()
        return web.Response(text=reason or note() or "ok", status=503 if reason else 200)

    async def metrics(_: web.Request) -> web.Response:
        READY.set(await is_ready() is None)
        return web.Response(
            body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/healthz", lambda _: answer(is_alive))
    app.router.add_get("/readyz", lambda _: answer(is_ready))
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.SockSite(runner, _listen(host, port)).start()
        except OSError as error:
            raise StartError(
                f"ACTIVITY_OPERATIONS_PORT: cannot listen on port {port}: {error.strerror}"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _listen(host: str | None, port: int) -> socket.socket:
    """One socket for both families: of any free port, an event loop may take a different one each."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
