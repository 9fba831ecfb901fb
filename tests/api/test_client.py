"""The reference system's official Python client, with nothing but its base URL changed."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from closeio_api import APIError, Client, ValidationError

from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, serving
from tests.factories import realistic_events, record
from tests.model import Model

COUNT = 230


def log() -> list[bytes]:
    return [record(event) for event in realistic_events(4, COUNT, leads=3)]


def modelled() -> Model:
    model = Model()
    for value in log():
        model.apply(value)
    return model


async def client_of(api: Api, *, tz_offset: float | None = None, max_retries: int = 5) -> Client:
    client = Client(await api.key(), tz_offset=tz_offset, max_retries=max_retries)
    client.base_url = f"{api.url}{BASE_PATH}/"
    return client


def pages(client: Client, endpoint: str, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
    """Every row, as the client's documentation pages: by `_skip` until `has_more` is false."""
    skip, has_more = 0, True
    while has_more:
        answer = client.get(endpoint, {"_skip": skip, "_limit": limit, **params})
        yield from answer["data"]
        skip += len(answer["data"])
        has_more = answer["has_more"]


async def test_it_pages_through_everything(api: Api) -> None:
    await api.apply(log())
    client = await client_of(api)

    me = await asyncio.to_thread(client.get, "me")
    rows = await asyncio.to_thread(lambda: list(pages(client, "activity", 33)))

    assert me["organizations"][0]["id"] == "orga_1"
    assert len(rows) > 100
    assert rows == modelled().walk("/activity/", [], "orga_1")


async def test_it_lists_and_filters(api: Api) -> None:
    await api.apply(log())
    client = await client_of(api, tz_offset=-4)
    model = modelled()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("activity", {"lead_id": "lead_1", "_limit": 5}),
        ("activity", {"lead_id": "lead_1", "_type__in": "Call,Note", "_order_by": "-activity_at"}),
        ("activity", {"lead_id": "lead_1", "thread_emails": "only"}),
        ("activity", {"lead_id__in": "lead_1,lead_2", "_fields": "id,_type"}),
        ("activity", {"date_created__gt": "2026-01-02T06:30:00", "_order_by": "date_created"}),
        ("activity/call", {"user_id": "user_1", "date_created__gte": "2026-01-02"}),
        ("activity/status_change/opportunity", {"opportunity_id": "oppo_1"}),
    ]

    for endpoint, params in asked:
        answer = await asyncio.to_thread(client.get, endpoint, params)
        pairs = [(name, str(value)) for name, value in params.items()]
        expected = model.get(f"/{endpoint}/", pairs, "orga_1", {"X-TZ-Offset": "-4"})
        assert (200, answer) == expected, (endpoint, params)
    naive = {"date_created__gt": "2026-01-02T06:30:00", "_limit": 1, "_order_by": "date_created"}
    (first,) = (await asyncio.to_thread(client.get, "activity", naive))["data"]
    assert first["date_created"] > "2026-01-02T10:30:00"


async def test_it_gets_one_activity(api: Api) -> None:
    await api.apply(log())
    client = await client_of(api)
    (row,) = (await asyncio.to_thread(client.get, "activity/call", {"_limit": 1}))["data"]

    fields = {"_fields": "recording_transcript,voicemail_transcript"}
    whole = await asyncio.to_thread(client.get, f"activity/call/{row['id']}", fields)

    assert set(whole) == {"recording_transcript", "voicemail_transcript"}
    with pytest.raises(APIError) as raised:
        await asyncio.to_thread(client.get, "activity/acti_none")
    assert raised.value.response.status_code == 404


async def test_it_understands_a_400(api: Api) -> None:
    client = await client_of(api)

    with pytest.raises(ValidationError) as raised:
        await asyncio.to_thread(client.get, "activity", {"user_id": "user_1"})

    assert list(raised.value.field_errors) == ["user_id"]
    assert "lead_id" in raised.value.field_errors["user_id"]


async def test_it_understands_a_401_and_a_405(api: Api) -> None:
    client = await client_of(api)

    with pytest.raises(APIError) as refused:
        await asyncio.to_thread(client.post, "activity/note", {"note": "x"})
    assert refused.value.response.status_code == 405
    client.session.auth = ("api_wrong", "")
    with pytest.raises(APIError) as unknown:
        await asyncio.to_thread(client.get, "activity")
    assert unknown.value.response.status_code == 401


async def test_it_waits_out_a_429(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="3/second") as api:
        client = await client_of(api)
        started = time.monotonic()

        for _ in range(7):
            answer = await asyncio.to_thread(client.get, "me")
            assert answer["organizations"]

        # Twice over the rate: each time it slept as long as it was told, and no longer.
        assert 1 < time.monotonic() - started < 10


async def test_it_reads_how_long_to_wait(mongo: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(mongo, rate_limit="1/day") as api:
        client = await client_of(api, max_retries=1)
        slept: list[float] = []
        monkeypatch.setattr("closeio_api.time.sleep", slept.append)
        await asyncio.to_thread(client.get, "me")

        with pytest.raises(APIError) as raised:
            await asyncio.to_thread(client.get, "me")

        assert raised.value.response.status_code == 429
        assert slept == [float(raised.value.response.headers["Retry-After"])]
        assert 1 <= slept[0] <= 24 * 60 * 60
