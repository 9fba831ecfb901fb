"""Keys: made, believed for a while, revoked (contract 3.5)."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from service.api.authentication import _MAX_REMEMBERED, Authentication
from service.errors import StoreUnavailable, Unauthorized
from service.store.keys import ApiKey, create_key, find_keys, get_key, revoke_key
from service.store.mongo import Mongo
from tests.api.conftest import Api, serving


def basic(text: str) -> str:
    return f"Basic {b64encode(text.encode()).decode()}"


async def test_a_key_is_stored_as_a_hash_only(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "reports")

    documents = [document async for document in mongo.api_keys.find({})]
    assert [document["organization_id"] for document in documents] == ["orga_1"]
    secret = key.partition(".")[2]
    assert len(secret) == 43
    assert secret not in repr(documents)


async def test_a_key_is_found_until_it_is_revoked(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "reports")
    found = await get_key(mongo, key)
    assert found is not None
    assert (found.organization_id, found.name) == ("orga_1", "reports")

    assert await revoke_key(mongo, found.id)

    assert await get_key(mongo, key) is None
    (listed,) = await find_keys(mongo)
    assert listed.id == found.id
    assert listed.revoked_at is not None


async def test_revoking_again_keeps_the_first_time(mongo: Mongo) -> None:
    await create_key(mongo, "orga_1", "")
    (key,) = await find_keys(mongo)
    await revoke_key(mongo, key.id)
    (first,) = await find_keys(mongo)

    assert await revoke_key(mongo, key.id)

    assert await find_keys(mongo) == [first]


async def test_revoking_an_unknown_key_says_so(mongo: Mongo) -> None:
    assert not await revoke_key(mongo, "key_000000000000000000000000")


async def test_a_text_near_a_key_is_no_key(mongo: Mongo) -> None:
    key = await create_key(mongo, "orga_1", "")
    key_id, _, secret = key.partition(".")
    near = [
        f"{key_id}.{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}",
        f"key_{'0' * 24}.{secret}",
        key[:-1],
        f"{key}\n",
        key_id,
        '{"$gt": ""}',
    ]

    assert [text for text in near if await get_key(mongo, text)] == []


async def test_basic_and_bearer_are_both_taken(api: Api) -> None:
    key = await api.key()

    for header in (basic(f"{key}:"), f"Bearer {key}", f"basic {basic(f'{key}:')[6:]}"):
        reply = await api.ask("/me/", headers={"Authorization": header})
        assert reply.status == 200, header
        assert reply.content["organizations"] == [{"id": "orga_1", "name": "orga_1"}]


WRONG_HEADERS = {
    "empty": "",
    "scheme alone": "Basic",
    "no base64": "Basic ???",
    "no UTF-8": f"Basic {b64encode(bytes([0xFF, 0xFE])).decode()}",
    "another scheme": "Digest abc",
    "unknown key": f"Bearer key_{'0' * 24}.{'a' * 43}",
    "unknown key, basic": basic("api_key:"),
    "no key": basic(":"),
    "a password": basic(f"key_{'0' * 24}.{'a' * 43}:password"),
    "not ASCII": "Bearer schlüssel",
}


async def test_a_wrong_key_is_401_before_anything_else(api: Api) -> None:
    for name, header in WRONG_HEADERS.items():
        for path in ("/activity/", "/nowhere/", "/activity/acti_1/"):
            for method in ("GET", "DELETE"):
                reply = await api.ask(path, method=method, headers={"Authorization": header})

                assert reply.status == 401, (name, path, method)
                assert reply.headers["WWW-Authenticate"].startswith("Basic ")
                assert set(reply.content) == {"error", "errors", "field-errors"}


async def test_a_revoked_key_stops_within_its_cache_time(mongo: Mongo) -> None:
    async with serving(mongo, key_cache_seconds=0) as api:
        key = await api.key()
        assert (await api.ask("/me/")).status == 200

        await revoke_key(mongo, key.partition(".")[0])

        assert (await api.ask("/me/")).status == 401


class Store:
    """Stands for `get_key`: counts what is asked, and can be away."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.asked: list[str] = []
        self.is_away = False

    async def get_key(self, text: str) -> ApiKey | None:
        self.asked.append(text)
        if self.is_away:
            raise StoreUnavailable("away")
        return ApiKey(text, "orga_1", "", datetime.now(UTC)) if text in self.known else None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store("K")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authentication(store: Store, clock: Clock) -> Authentication:
    return Authentication(store.get_key, max_age_seconds=10, clock=clock)


async def test_a_known_key_is_asked_for_once_in_its_time(
    authentication: Authentication, store: Store, clock: Clock
) -> None:
    for now in (0.0, 5.0, 9.9):
        clock.now = now
        await authentication.authenticate("Bearer K")
    assert store.asked == ["K"]

    clock.now = 10.0
    await authentication.authenticate("Bearer K")
    assert store.asked == ["K", "K"]


async def test_an_unknown_key_is_remembered_too(
    authentication: Authentication, store: Store, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await authentication.authenticate("Bearer X")
    assert store.asked == ["X"]

    clock.now = 10.0
    store.known.add("X")
    assert (await authentication.authenticate("Bearer X")).id == "X"


async def test_a_remembered_key_outlives_an_outage(
    authentication: Authentication, store: Store, clock: Clock
) -> None:
    await authentication.authenticate("Bearer K")
    store.is_away = True
    clock.now = 9.0

    await authentication.authenticate("Bearer K")

    clock.now = 10.0
    with pytest.raises(StoreUnavailable):
        await authentication.authenticate("Bearer K")


async def test_the_time_counts_from_before_the_question(store: Store, clock: Clock) -> None:
    async def slow(text: str) -> ApiKey | None:
        key = await store.get_key(text)
        clock.now += 8
        return key

    authentication = Authentication(slow, max_age_seconds=10, clock=clock)
    await authentication.authenticate("Bearer K")
    clock.now = 10.0

    await authentication.authenticate("Bearer K")

    assert store.asked == ["K", "K"]


async def test_guessed_keys_do_not_fill_the_memory(
    authentication: Authentication, store: Store
) -> None:
    for number in range(_MAX_REMEMBERED):
        if number % 1000 == 0:
            await authentication.authenticate("Bearer K")
        with pytest.raises(Unauthorized):
            await authentication.authenticate(f"Bearer {number}")
    await authentication.authenticate("Bearer K")

    assert len(authentication._remembered) == _MAX_REMEMBERED
    assert store.asked.count("K") == 1
