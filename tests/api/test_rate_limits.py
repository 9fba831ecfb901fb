"""How often a key may ask, and what clients read of it (contract 3.6)."""

import asyncio

import pytest

from service.api.rate_limits import MAX_KEYS, Allowance, RateLimits, to_throttled
from service.errors import StartError
from service.store.mongo import Mongo
from tests.api.conftest import Reply, serving

# A window that ends in the middle of a test would let through what was to be refused; days hardly do.
DAY_SECONDS = 24 * 60 * 60
HEADERS = (
    "RateLimit",
    "RateLimit-Reset",
    "Retry-After",
    "X-Rate-Limit-Limit",
    "X-Rate-Limit-Remaining",
    "X-Rate-Limit-Reset",
)


def check_refusal(reply: Reply, limit: int, window: int) -> None:
    """Every place where some client looks for when to ask again, in whole seconds."""
    assert reply.status == 429
    seconds = int(reply.headers["Retry-After"])
    assert 1 <= seconds <= window
    assert reply.headers["RateLimit"] == f"limit={limit}, remaining=0, reset={seconds}"
    assert reply.headers["RateLimit-Reset"] == str(seconds)
    assert reply.headers["X-Rate-Limit-Limit"] == str(limit)
    assert reply.headers["X-Rate-Limit-Remaining"] == "0"
    assert reply.headers["X-Rate-Limit-Reset"] == str(seconds)
    message = "API call count exceeded for this period"
    assert reply.content == {
        "error": {
            "message": message,
            "rate_reset": seconds,
            "rate_limit": limit,
            "rate_window": window,
            "rate_limit_type": "key",
        },
        "errors": [message],
        "field-errors": {},
        "rate_reset": seconds,
    }


async def test_every_answer_says_what_is_left(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="5/day") as api:
        for path, remaining in (("/activity/", 4), ("/nowhere", 3), ("/activity/acti_9", 2)):
            reply = await api.ask(path)
            assert reply.headers["RateLimit"].startswith(f"limit=5, remaining={remaining}, reset=")
        assert "Retry-After" not in reply.headers
        refused = await api.ask("/activity/", [("_limit", "x")])
        assert refused.headers["RateLimit"].startswith("limit=5, remaining=1, ")


async def test_beyond_the_rate_is_a_429_that_every_client_understands(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="2/day") as api:
        replies = [await api.ask("/activity/") for _ in range(4)]

        assert [reply.status for reply in replies] == [200, 200, 429, 429]
        check_refusal(replies[2], 2, DAY_SECONDS)
        assert (await api.ask("/nowhere", method="DELETE")).status == 429


async def test_keys_do_not_share_their_rate(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="1/day") as api:
        for organization in ("orga_1", "orga_2"):
            assert (await api.ask("/me/", organization=organization)).status == 200
            assert (await api.ask("/me/", organization=organization)).status == 429


async def test_after_the_reset_it_goes_on(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="1/second") as api:
        replies = [await api.ask("/me/") for _ in range(2)]
        while replies[-1].status == 200:
            replies.append(await api.ask("/me/"))
        check_refusal(replies[-1], 1, 1)

        # Not a wait for something to happen: the very pause that the answer asks for.
        await asyncio.sleep(int(replies[-1].headers["Retry-After"]))

        assert (await api.ask("/me/")).status == 200


async def test_what_needs_no_key_and_unknown_keys_count_nowhere(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="1/day") as api:
        for _ in range(3):
            unknown = await api.ask("/me/", headers={"Authorization": "Bearer x"})
            assert unknown.status == 401
            assert not set(HEADERS) & set(unknown.headers)
            assert (await api.ask("/openapi.json")).status == 200
        assert (await api.ask("/me/")).status == 200


async def test_without_a_rate_there_is_no_header(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="") as api:
        reply = await api.ask("/me/")

        assert not set(HEADERS) & set(reply.headers)


@pytest.mark.parametrize(
    "text",
    [
        "often",
        "60",
        "1/second;9/minute",
        "-1/second",
        "0/second",
        "1/fortnight",
        "1/second burst 9",
        pytest.param("1" * 400 + "/second", id="beyond a float"),
        pytest.param("1" * 5000 + "/second", id="beyond what Python reads"),
    ],
)
def test_what_is_no_rate_keeps_the_service_from_starting(text: str) -> None:
    with pytest.raises(StartError, match="ACTIVITY_RATE_LIMIT"):
        to_throttled(text)


def test_counts_are_kept_for_those_who_asked_last() -> None:
    limits = RateLimits("9/day")
    for number in range(MAX_KEYS):
        take(limits, f"key_{number}")

    assert take(limits, "key_0").remaining == 7
    take(limits, "key_one_too_many")
    assert take(limits, "key_0").remaining == 6
    assert take(limits, "key_1").remaining == 8


def take(limits: RateLimits, key_id: str) -> Allowance:
    allowance = limits.take(key_id)
    assert allowance is not None
    return allowance
