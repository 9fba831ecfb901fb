"""Keys: made, believed for a while, revoked (contract 3.5)."""

import asyncio
from base64 import b64encode
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from service.api import authentication
from service.api.addresses import Addresses
from service.api.authentication import Authentication
from service.api.capacity import Lane, Places
from service.api.rate_limits import Exceeded
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
    """Stands for `get_key`: counts what is asked, and can be away or wait for `gate`."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.asked: list[str] = []
        self.is_away = False
        self.gate: asyncio.Event | None = None

    async def get_key(self, text: str) -> ApiKey | None:
        self.asked.append(text)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        return ApiKey(text, "orga_1", "", datetime.now(UTC)) if text in self.known else None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(number: int) -> str:
    """What looks like a key."""
    return f"key_{number:024x}.{'a' * 43}"


KNOWN, OTHER, UNKNOWN = key(1), key(2), key(3)


class Asker:
    """An `Authentication`, asked from an address."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.lane = Lane("tests", Places(2, 2), max_wait_seconds=60)
        self.authentication = Authentication(
            store.get_key, self.lane, max_age_seconds=10, clock=clock
        )

    async def ask(self, text: str, address: str = "192.0.2.1") -> ApiKey:
        try:
            return await self.authentication.authenticate(f"Bearer {text}", lambda: address)
        finally:
            await self.settle()

    async def settle(self) -> None:
        """Let what goes on beside the requests come to its end."""
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def store() -> Store:
    return Store(KNOWN, OTHER)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asker(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Asker:
    monkeypatch.setattr(authentication, "REFUSAL_SECONDS", 0)
    # A day does not end in the middle of a test.
    monkeypatch.setattr(authentication, "UNKNOWN_KEYS_RATE", "10/day")
    return Asker(store, clock)


async def test_a_known_key_is_asked_for_again_before_its_time_is_over(
    asker: Asker, store: Store, clock: Clock
) -> None:
    for now in (0.0, 4.0, 4.9):
        clock.now = now
        await asker.ask(KNOWN)
    assert store.asked == [KNOWN]

    clock.now = 5.0
    await asker.ask(KNOWN)
    assert store.asked == [KNOWN, KNOWN]

    clock.now = 9.9
    await asker.ask(KNOWN)
    assert store.asked == [KNOWN, KNOWN]


async def test_a_known_key_never_waits_for_being_asked_for_again(
    asker: Asker, store: Store, clock: Clock
) -> None:
    await asker.ask(KNOWN)
    store.gate = asyncio.Event()
    clock.now = 6.0

    for _ in range(5):
        assert (await asker.ask(KNOWN)).id == KNOWN

    assert store.asked == [KNOWN, KNOWN]
    store.gate.set()
    await asker.settle()


async def test_a_key_that_was_revoked_is_refused_from_the_next_look_on(
    asker: Asker, store: Store, clock: Clock
) -> None:
    await asker.ask(KNOWN)
    store.known.clear()
    clock.now = 6.0
    await asker.ask(KNOWN)

    with pytest.raises(Unauthorized):
        await asker.ask(KNOWN)


async def test_many_who_come_with_one_key_ask_once(asker: Asker, store: Store) -> None:
    store.gate = asyncio.Event()
    asking = [asyncio.create_task(asker.ask(KNOWN)) for _ in range(50)]
    await asker.settle()
    asking[0].cancel()
    store.gate.set()

    found = await asyncio.gather(*asking[1:])

    assert {one.id for one in found} == {KNOWN}
    assert store.asked == [KNOWN]


async def test_what_does_not_look_like_a_key_is_never_asked_for(asker: Asker, store: Store) -> None:
    for text in ("", "x", KNOWN[:-1], f"{KNOWN}x", "key_.", "schl\xfcssel"):
        with pytest.raises(Unauthorized):
            await asker.ask(text)

    assert store.asked == []


async def test_an_unknown_key_is_remembered_too(asker: Asker, store: Store, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await asker.ask(UNKNOWN)
    assert store.asked == [UNKNOWN]

    clock.now = 10.0
    store.known.add(UNKNOWN)
    assert (await asker.ask(UNKNOWN)).id == UNKNOWN


async def test_a_remembered_key_outlives_an_outage(
    asker: Asker, store: Store, clock: Clock
) -> None:
    await asker.ask(KNOWN)
    store.is_away = True
    clock.now = 9.0

    await asker.ask(KNOWN)

    clock.now = 10.0
    with pytest.raises(StoreUnavailable):
        await asker.ask(KNOWN)


async def test_the_time_counts_from_before_the_question(
    asker: Asker, store: Store, clock: Clock
) -> None:
    store.gate = asyncio.Event()
    asking = asyncio.create_task(asker.ask(KNOWN))
    await asker.settle()
    clock.now = 8.0
    store.gate.set()
    await asking
    clock.now = 10.0

    await asker.ask(KNOWN)

    assert store.asked == [KNOWN, KNOWN]


async def test_guessed_keys_push_no_good_one_out(asker: Asker, store: Store) -> None:
    await asker.ask(KNOWN)
    for number in range(100, 100 + 2 * authentication.MAX_UNKNOWN):
        with pytest.raises(Unauthorized):
            await asker.ask(key(number), address=f"address {number // 5}")
    await asker.ask(KNOWN)

    assert len(asker.authentication._unknown) == authentication.MAX_UNKNOWN
    assert store.asked.count(KNOWN) == 1


async def test_an_address_finds_out_only_so_often_that_keys_are_unknown(
    asker: Asker, store: Store
) -> None:
    await asker.ask(KNOWN)
    for number in range(10):
        with pytest.raises(Unauthorized):
            await asker.ask(key(100 + number))
    asked = len(store.asked)

    with pytest.raises(Exceeded) as refused:
        await asker.ask(key(200))

    assert len(store.asked) == asked
    assert refused.value.limit_type == "address"
    # Nobody else is concerned, nor is a known key from there.
    assert (await asker.ask(KNOWN)).id == KNOWN
    assert (await asker.ask(OTHER, address="192.0.2.2")).id == OTHER


async def test_look_ups_take_turns_by_address(asker: Asker, store: Store) -> None:
    store.gate = asyncio.Event()
    crowd = [asyncio.create_task(asker.ask(key(100 + number))) for number in range(20)]
    await asker.settle()
    good = asyncio.create_task(asker.ask(OTHER, address="192.0.2.2"))
    await asker.settle()

    assert OTHER in store.asked[:2]
    store.gate.set()
    assert (await good).id == OTHER
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_flood_of_unknown_keys_is_a_429(mongo: Mongo) -> None:
    async with serving(mongo) as api:
        assert (await api.ask("/me/")).status == 200
        flood = [{"Authorization": f"Bearer {key(100 + number)}"} for number in range(60)]
        replies = await asyncio.gather(*(api.ask("/me/", headers=each) for each in flood))
        assert {reply.status for reply in replies} <= {401, 429}
        reply = await api.ask("/me/", headers={"Authorization": f"Bearer {key(99)}"})

        if reply.status == 429:  # else a new second has begun
            assert reply.content["error"]["rate_limit_type"] == "address"
            assert int(reply.headers["Retry-After"]) == 1
        assert (await api.ask("/me/")).status == 200


# --- whose address it is --------------------------------------------------------------------------
def addresses(*trusted: str) -> Addresses:
    return Addresses([ip_network(each) for each in trusted])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", [], "2001:db8::/64"),
        ("2001:db8::ffff:2", [], "2001:db8::/64"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_only_trusted_proxies_say_who_their_client_is(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert addresses("10.0.0.0/8").find_client(peer, forwarded) == client
