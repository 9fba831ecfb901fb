"""Pages that a client already has (contract 3.2: `ETag`, `If-None-Match`, 304)."""

import pytest

from service.store.mongo import Mongo
from tests.api.conftest import Api, serving
from tests.factories import activity, event, record

OVERRIDE = {"X-HTTP-Method-Override": "GET"}


def note(number: int, **fields: str) -> bytes:
    row = activity("Note", id=f"acti_{number}", date_created=f"2026-01-02T10:00:{number:02d}Z")
    return record(event(row | fields, id=f"ev_{number}"))


PATHS = ("/activity/", "/activity/note/", "/activity/acti_1/", "/me/", "/openapi.json")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_has_not_changed_is_a_304_without_body(api: Api, method: str) -> None:
    await api.apply(map(note, range(3)))

    for path in PATHS:
        first = await api.ask(path, [("_limit", "2")], method=method)
        assert first.status == 200
        assert first.headers["ETag"].startswith('W/"'), path
        assert first.headers["Cache-Control"] == "private, no-cache"

        known = {"If-None-Match": first.headers["ETag"]}
        again = await api.ask(path, [("_limit", "2")], method=method, headers=known)
        assert (again.status, again.body) == (304, b""), path
        for name in ("ETag", "Cache-Control", "Vary", "Link"):
            assert again.headers.get(name) == first.headers.get(name), (path, name)
        assert not {"Content-Type", "Content-Encoding", "Content-Length"} & set(again.headers)


async def test_what_has_changed_is_sent(api: Api) -> None:
    await api.apply([note(1)])
    first = await api.ask("/activity/")
    known = {"If-None-Match": first.headers["ETag"]}

    await api.apply([note(2)])

    again = await api.ask("/activity/", headers=known)
    assert again.status == 200
    assert again.headers["ETag"] != first.headers["ETag"]
    assert (await api.ask("/activity/", organization="orga_2", headers=known)).status == 200
    assert (await api.ask("/activity/", [("_fields", "id")], headers=known)).status == 200


async def test_the_tag_is_the_bodys_in_every_coding_and_form_of_asking(api: Api) -> None:
    await api.apply(map(note, range(20)))
    codings = ("gzip", "identity", "*;q=0")
    coded = [await api.ask("/activity/", headers={"Accept-Encoding": one}) for one in codings]
    tags = {reply.headers["ETag"] for reply in coded}
    posted = await api.ask("/activity/", method="POST", headers=OVERRIDE, json={"_params": {}})

    assert tags == {posted.headers["ETag"]}
    again = await api.ask(
        "/activity/",
        method="POST",
        headers=OVERRIDE | {"If-None-Match": posted.headers["ETag"]},
        json={"_params": {}},
    )
    assert again.status == 304


async def test_a_tag_is_found_in_every_form_that_names_it(api: Api) -> None:
    tag = (await api.ask("/activity/")).headers["ETag"]
    strong = tag.removeprefix("W/")

    for known in (tag, strong, "*", f'"a", {tag}', f'W/"a",{strong},"b"'):
        reply = await api.ask("/activity/", headers={"If-None-Match": known})
        assert reply.status == 304, known
    for known in ('"a"', strong.strip('"'), f'W/{strong[:-2]}"', "", '"', "nonsense"):
        reply = await api.ask("/activity/", headers={"If-None-Match": known})
        assert reply.status == 200, known


async def test_only_answers_have_a_tag(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="3/day") as api:
        for path, status in (("/activity/?_limit=x", 400), ("/nowhere", 404), ("/me", 200)):
            reply = await api.ask_raw(f"/api/v1{path}", headers={"If-None-Match": "*"})
            assert reply.status == (304 if status == 200 else status)
            assert ("ETag" in reply.headers) is (status == 200)
            assert "RateLimit" in reply.headers
        limited = await api.ask("/activity/", headers={"If-None-Match": "*"})

    assert limited.status == 429
    assert "ETag" not in limited.headers
