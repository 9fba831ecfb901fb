"""The HTTP API against the model: statuses and bodies over every parameter, walks, tenants."""

import json
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, Reply, serving
from tests.examples import examples
from tests.factories import (
    ACTIVITIES,
    GIVEN_THREADS,
    ORGANIZATIONS,
    Request,
    activity,
    event,
    event_logs,
    record,
    requests,
)
from tests.model import Model, Refusal, unwrapped, with_params
from tests.store.listing import apply

OVERRIDE = {"X-HTTP-Method-Override": "GET"}
ORDERS = ["-date_created", "date_created", "-activity_at", "activity_at"]
FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def fill(mongo: Mongo, log: list[bytes | None]) -> tuple[Model, list[str]]:
    """The log in a fresh store and in a model, with the ids worth asking for."""
    model = Model()
    for value in log:
        model.apply(value)
    await mongo.activities.delete_many({})
    await apply(mongo, log)
    threads = [id_ for one in ORGANIZATIONS for id_ in model.threads(one)]
    return model, [*ACTIVITIES, *GIVEN_THREADS, *threads]


def check(reply: Reply, expected: tuple[int, Any], context: object) -> None:
    status, body = expected
    assert reply.status == status, (context, reply.body)
    if isinstance(body, Refusal):
        assert body.is_told_by(reply.content), (context, reply.content)
    elif status == 200:
        assert reply.content == body, context
        has_link = "Link" in reply.headers
        assert has_link is (reply.content.get("has_more", False) and bool(body["data"])), context
    else:
        assert set(reply.content) == {"error", "errors", "field-errors"}, context


@settings(max_examples=examples(25), suppress_health_check=FIXTURES)
@given(log=event_logs(min_size=5), data=st.data())
async def test_every_answer_is_the_models(api: Api, log: list[bytes | None], data: Any) -> None:
    model, ids = await fill(api.mongo, log)

    for request in data.draw(st.lists(requests(ids), min_size=5, max_size=12)):
        for organization in ORGANIZATIONS:
            reply = await api.ask(
                request.path,
                request.parameters,
                organization=organization,
                headers=request.headers,
            )
            expected = model.get(request.path, request.parameters, organization, request.headers)
            check(reply, expected, (organization, request))


@st.composite
def bodies(draw: st.DrawFn, request: Request) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Some of a request's parameters in the query string, others in a body, some in both."""
    query = [pair for pair in request.parameters if draw(st.booleans())]
    params: dict[str, Any] = {}
    for name, value in request.parameters:
        if (name, value) in query and draw(st.integers(0, 3)):
            continue
        params[name] = draw(st.sampled_from([value, value.split(","), None, value]))
        if value.isdecimal() and len(value) < 10 and draw(st.booleans()):
            params[name] = int(value)
    return query, params


@settings(max_examples=examples(10), suppress_health_check=FIXTURES)
@given(log=event_logs(min_size=5), data=st.data())
async def test_params_in_a_body_are_the_same_request(
    api: Api, log: list[bytes | None], data: Any
) -> None:
    model, ids = await fill(api.mongo, log)

    for request in data.draw(st.lists(requests(ids), min_size=5, max_size=10)):
        query, params = data.draw(bodies(request))
        reply = await api.ask(
            request.path,
            query,
            method="POST",
            headers=request.headers | OVERRIDE,
            json={"_params": params},
        )
        merged = with_params(query, params)
        assert merged is not None
        expected = model.get(request.path, merged, "orga_1", request.headers)
        check(reply, expected, (request, query, params))


@settings(max_examples=examples(8), suppress_health_check=FIXTURES)
@given(log=event_logs(min_size=10), data=st.data())
async def test_walks_by_cursor_and_by_skip_give_the_models_list(
    api: Api, log: list[bytes | None], data: Any
) -> None:
    model, _ = await fill(api.mongo, log)
    order = data.draw(st.sampled_from(ORDERS))
    leads = ["lead_1"] if order.endswith("activity_at") else ["lead_1", "lead_2,lead_1", None]
    lead = data.draw(st.sampled_from(leads))
    mode = data.draw(st.sampled_from(["false", "true", "only"]))
    asked = [("_order_by", order), ("thread_emails", mode)]
    asked += [("lead_id", lead)] if lead else []
    limit = data.draw(st.integers(1, 4))

    by_cursor = await api.walk("/activity/", [*asked, ("_limit", str(limit))])
    by_skip: list[Any] = []
    while True:
        paging = [("_limit", str(limit)), ("_skip", str(len(by_skip)))]
        page = (await api.ask("/activity/", [*asked, *paging])).content
        by_skip += page["data"]
        if not page["has_more"]:
            break

    assert by_cursor == by_skip == model.walk("/activity/", asked, "orga_1")


# --- many of one time, and writes that keep arriving ----------------------------------------------


def tied(count: int, prefix: str, *, at: str = "2026-01-02T10:00:00Z") -> list[bytes]:
    """New notes, all of one time."""
    numbers = random.Random(count).sample(range(10**6), count)
    return [
        record(
            event(activity("Note", id=f"{prefix}_{number:06d}", date_created=at), id=f"ev_{number}")
        )
        for number in numbers
    ]


async def test_walks_through_thousands_of_equal_times(api: Api) -> None:
    log: list[bytes | None] = [*tied(2500, "acti")]
    model, _ = await fill(api.mongo, log)

    for order in ("-date_created", "date_created"):
        asked = [("_order_by", order), ("_fields", "id")]
        walked = await api.walk("/activity/", asked)
        assert walked == model.walk("/activity/", asked, "orga_1")


async def test_a_walk_under_fire_misses_and_repeats_nothing(api: Api) -> None:
    """Activities arrive at, before and behind the place of the walk, and others move."""
    stay = tied(300, "acti")
    moving = tied(30, "move")
    await api.apply([*stay, *moving])
    expected = {json.loads(value)["object_id"] for value in stay}
    rng = random.Random(3)
    rows: list[str] = []

    reply = await api.ask("/activity/", [("_limit", "7"), ("_fields", "id")])
    while True:
        rows += [row["id"] for row in reply.content["data"]]
        if reply.next is None:
            break
        turn = len(rows)
        late = [tied(2, f"{letter}{turn}") for letter in ("aaaa", "acti_5", "zzzz")]
        early = tied(1, f"early{turn}", at="2026-01-02T11:00:00Z")
        moved = json.loads(rng.choice(moving))
        moved["date_updated"] = f"2026-01-03T10:00:{turn % 60:02d}.{turn:06d}"
        moved["data"]["date_created"] = f"2026-01-02T{rng.randrange(8, 12):02d}:00:00Z"
        await api.apply([*(value for batch in late for value in batch), *early, record(moved)])
        reply = await api.ask_raw(reply.next)

    seen = [id_ for id_ in rows if id_ in expected]
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


# --- cursors of others, and broken ones -----------------------------------------------------------


def cursor_of(reply: Reply) -> str:
    assert reply.next is not None
    return reply.next.partition("_cursor=")[2]


async def follow(api: Api, cursor: str, query: str = "", organization: str = "orga_1") -> Reply:
    path = f"{BASE_PATH}/activity/?_cursor={cursor}{query}"
    return await api.ask_raw(path, organization)


async def test_a_changed_cursor_is_refused(api: Api) -> None:
    await api.apply(tied(5, "acti"))
    cursor = cursor_of(await api.ask("/activity/", [("_limit", "2")]))
    assert (await follow(api, cursor)).status == 200
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    rng = random.Random(5)
    broken = [cursor[:length] for length in range(1, len(cursor))]
    for place in range(len(cursor)):
        other = rng.choice([letter for letter in alphabet if letter != cursor[place]])
        broken.append(cursor[:place] + other + cursor[place + 1 :])
    broken += [cursor + "A", "A" + cursor, cursor[::-1], cursor * 50, ".", "..", "%00", "%ff"]

    accepted = [text for text in broken if (await follow(api, text)).status != 400]

    # The last letter of base64 has two or four unused bits: some letters mean the same bytes.
    assert all(text[:-1] == cursor[:-1] and len(text) == len(cursor) for text in accepted)
    refused = (await follow(api, "x")).content
    assert list(refused["field-errors"]) == ["_cursor"]


async def test_a_cursor_belongs_to_its_query_and_organization(api: Api) -> None:
    records = tied(5, "acti")
    await api.apply(records)
    await api.apply(value.replace(b"orga_1", b"orga_2") for value in records)
    cursor = cursor_of(await api.ask("/activity/", [("_limit", "2")]))

    for query in ("&_limit=1", "&_fields=id", "&_limit=100&_fields=_all", "&unknown=1"):
        assert (await follow(api, cursor, query)).status == 200, query
    for query in (
        "&lead_id=lead_1",
        "&_order_by=date_created",
        "&date_created__gt=2026-01-01",
        "&thread_emails=true",
        "&id__in=acti_1",
        "&organization_id=orga_2",
        "&_skip=0",
    ):
        assert (await follow(api, cursor, query)).status == 400, query
    assert (await follow(api, cursor, organization="orga_2")).status == 400
    own = await api.ask_raw(f"{BASE_PATH}/activity/note/?_cursor={cursor}")
    assert own.status == 400


async def test_a_cursor_of_another_secret_is_refused(mongo: Mongo) -> None:
    async with serving(mongo, cursor_secret="an older secret of the tests") as old:
        await old.apply(tied(5, "acti"))
        cursor = cursor_of(await old.ask("/activity/", [("_limit", "2")]))
    async with serving(mongo) as api:
        assert (await follow(api, cursor)).status == 400


# --- tenants --------------------------------------------------------------------------------------


@settings(max_examples=examples(8), suppress_health_check=FIXTURES)
@given(log=event_logs(min_size=8, with_bad=False), data=st.data())
async def test_no_answer_holds_anything_of_another_organization(
    api: Api, log: list[bytes | None], data: Any
) -> None:
    """The same ids in both, but every text says whose it is."""
    twins = [to_twin(value, owner) for value in log for owner in ORGANIZATIONS if value]
    _, ids = await fill(api.mongo, [*twins])

    for request in data.draw(st.lists(requests(ids), min_size=5, max_size=10)):
        for own, other in (ORGANIZATIONS, ORGANIZATIONS[::-1]):
            reply = await api.ask(
                request.path, request.parameters, organization=own, headers=request.headers
            )
            assert f"mark of {other}".encode() not in reply.body, request
            if reply.next is not None:
                stolen = await api.ask_raw(reply.next, other)
                assert stolen.status == 400, request


def to_twin(value: bytes, owner: str) -> bytes:
    """The same event in this organization, marked in every text that answers show."""
    said = unwrapped(value)
    said["organization_id"] = owner
    if isinstance(said.get("data"), dict):
        said["data"].pop("organization_id", None)
        said["data"] |= {"mark": f"mark of {owner}", "user_name": f"mark of {owner}"}
        if said["object_type"] == "activity.email":
            said["data"]["body_preview"] = f"mark of {owner}"
    return record(said)
