"""Keys that end by themselves, have a rate of their own, and give way to another (contract 3.5)."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from service.__main__ import main
from service.api.rate_limits import RateLimits
from service.store import keys
from service.store.keys import create_key, find_keys, get_key, rotate_key
from service.store.mongo import Mongo
from tests.api.conftest import serving

HOUR = timedelta(hours=1)


async def shift(mongo: Mongo, key: str, **fields: datetime) -> None:
    """As if time had gone by: these fields of the stored key are set."""
    await mongo.api_keys.update_one({"_id": key.partition(".")[0]}, {"$set": fields})


async def test_a_key_is_good_until_it_expires(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "", expires_after=HOUR)
    found = await get_key(mongo, key)
    await shift(mongo, key, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert found is not None
    assert found.expires_at == found.created_at + HOUR
    assert await get_key(mongo, key) is None
    (listed,) = await find_keys(mongo)
    assert listed.revoked_at is None


async def test_an_expired_key_is_a_401(mongo: Mongo) -> None:
    async with serving(mongo, key_cache_seconds=0) as api:
        key = await api.key()
        headers = {"Authorization": f"Bearer {key}"}
        before = await api.ask("/activity/", headers=headers)
        await shift(mongo, key, expires_at=datetime.now(UTC))
        after = await api.ask("/activity/", headers=headers)

    assert (before.status, after.status) == (200, 401)


async def test_the_hour_of_the_last_use_is_written(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "")
    (unused,) = await find_keys(mongo)
    started = datetime.now(UTC).replace(tzinfo=None)
    await get_key(mongo, key)
    (used,) = await find_keys(mongo)
    await shift(mongo, key, last_used_at=started - 3 * HOUR)
    await get_key(mongo, key)
    (again,) = await find_keys(mongo)

    assert unused.last_used_at is None
    for noted in (used, again):
        assert noted.last_used_at is not None
        assert started - HOUR < noted.last_used_at <= datetime.now(UTC).replace(tzinfo=None)
        assert (noted.last_used_at.minute, noted.last_used_at.second) == (0, 0)


async def test_a_key_is_only_read_in_the_hour_that_was_noted(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "")
    in_this_hour = datetime(2100, 1, 1, 10, 20)
    await shift(mongo, key, last_used_at=in_this_hour)

    await get_key(mongo, key)

    (listed,) = await find_keys(mongo)
    assert listed.last_used_at == in_this_hour


async def test_a_rotated_key_gives_way_after_its_grace(mongo: Mongo) -> None:
    old = await create_key(mongo, "orga_1", "reports", expires_after=90 * 24 * HOUR, rate="2/day")
    old_id = old.partition(".")[0]

    new = await rotate_key(mongo, old_id, 7 * 24 * HOUR)

    assert new is not None
    first, second = await find_keys(mongo)
    assert None not in (await get_key(mongo, old), await get_key(mongo, new))
    assert (first.id, second.id) == (old_id, new.partition(".")[0])
    assert (second.organization_id, second.name, second.rate) == ("orga_1", "reports", "2/day")
    assert first.expires_at is not None
    assert second.expires_at is not None
    assert second.expires_at - second.created_at == 90 * 24 * HOUR
    assert abs(first.expires_at - second.created_at - 7 * 24 * HOUR) < timedelta(minutes=1)


async def test_rotation_never_prolongs_a_key(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "", expires_after=HOUR)
    (before,) = await find_keys(mongo)

    await rotate_key(mongo, key.partition(".")[0], 7 * 24 * HOUR)

    after, _ = await find_keys(mongo)
    assert after.expires_at == before.expires_at


async def test_what_is_not_in_force_cannot_be_rotated(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "")
    key_id = key.partition(".")[0]
    await keys.revoke_key(mongo, key_id)

    assert await rotate_key(mongo, key_id, HOUR) is None
    assert await rotate_key(mongo, "key_none", HOUR) is None
    assert len(await find_keys(mongo)) == 1


def test_a_key_may_have_a_rate_of_its_own() -> None:
    limits = RateLimits("5/day")

    own = [limits.take("key_1", "2/day") for _ in range(3)]
    others = [limits.take("key_2", "2/day"), limits.take("key_3"), limits.take("key_3", None)]

    assert [one and (one.limit, one.is_exceeded) for one in own] == [
        *((2, False), (2, False), (2, True))
    ]
    assert [one and (one.limit, one.remaining) for one in others] == [(2, 1), (5, 4), (5, 3)]


async def test_a_key_of_a_first_version_has_no_end_and_no_rate(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "")
    await mongo.api_keys.update_one({}, {"$unset": {"expires_at": 1, "rate": 1}})

    found = await get_key(mongo, key)

    assert found is not None
    assert (found.expires_at, found.rate, found.last_used_at) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (("--expires", "90"), "90d, 12h or 30m"),
        (("--expires", "0d"), "90d, 12h or 30m"),
        (("--rate", "fast"), "120/second"),
    ],
)
def test_a_wrong_option_is_told_what_would_be_right(
    arguments: tuple[str, ...], accepted: str
) -> None:
    result = CliRunner().invoke(main, ["keys", "create", "--organization", "o", *arguments])

    assert result.exit_code == 2
    assert accepted in result.output


async def test_the_rate_of_a_key_beats_that_of_the_service(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="5/day") as api:
        key = await create_key(mongo, "orga_1", "", rate="2/day")
        own = await api.ask("/activity/", headers={"Authorization": f"Bearer {key}"})
        other = await api.ask("/activity/")

    assert own.headers["RateLimit"].startswith("limit=2, remaining=1, ")
    assert other.headers["RateLimit"].startswith("limit=5, remaining=4, ")
