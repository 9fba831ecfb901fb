"""The recipes of docs/api.md, run as they stand there."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Error, async_playwright

from deploy.local.prerequisites import find_chromium
from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, api, serving
from tests.factories import activity, deletion, event, realistic_events, record
from tests.model import Model

__all__ = ["api"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
RECIPES = DOCUMENT.read_text(encoding="utf-8").partition("\n## Recipes\n")[2]


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", RECIPES, re.DOTALL))


async def recipes(api: Api) -> dict[str, Any]:
    """What the Python of the page defines, with the URL and a key of this API."""
    names: dict[str, Any] = {"URL": api.url + BASE_PATH, "KEY": await api.key()}
    exec(compile(blocks("python"), str(DOCUMENT), "exec"), names)
    return names


async def fill(api: Api, count: int = 300) -> Model:
    model = Model()
    for value in (log := [record(one) for one in realistic_events(6, count, leads=3)]):
        model.apply(value)
    await api.apply(log)
    return model


async def run(recipe: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(recipe, *arguments, **named)


async def test_paging_gives_every_row(api: Api) -> None:
    model = await fill(api)
    named = await recipes(api)

    found = await run(lambda: list(named["rows"]("/activity/", thread_emails="only", _limit=7)))

    assert len(found) > 50
    assert found == model.walk("/activity/", [("thread_emails", "only")], "orga_1")
    named["api"].close()


async def test_a_copy_is_kept_but_for_what_polling_misses(api: Api) -> None:
    model = await fill(api)
    named = await recipes(api)
    copy: dict[tuple[bool, str], Any] = {}
    await run(named["update"], copy)
    listed = model.walk("/activity/", [("thread_emails", "true")], "orga_1")
    assert copy == {(row["_type"] == "EmailThread", row["id"]): row for row in listed}

    latest = max(row["date_created"] for row in listed)
    new = activity("Note", id="acti_new", date_created=latest)
    old = next(row for row in reversed(listed) if row["_type"] not in ("EmailThread", "Email"))
    gone = record(deletion(old, id="ev_gone", date_created="2027-01-01"))
    await api.apply([record(event(new)), gone])
    await run(named["update"], copy)

    assert (False, "acti_new") in copy
    assert (False, old["id"]) in copy, "as the page says, a deletion is missed"
    named["api"].close()


async def test_a_page_is_refreshed_by_its_tag(api: Api) -> None:
    await fill(api, 20)
    named = await recipes(api)

    tag, page = await run(named["refresh"], "/activity/", {"_limit": 5}, "", None)
    again = await run(named["refresh"], "/activity/", {"_limit": 5}, tag, "what I have")
    await api.apply([record(event(activity("Note", id="acti_x", date_created="2027-01-01")))])
    changed = await run(named["refresh"], "/activity/", {"_limit": 5}, tag, "what I have")

    assert len(page["data"]) == 5
    assert again == (tag, "what I have")
    assert changed[1]["data"][0]["id"] == "acti_x"
    named["api"].close()


async def test_a_conversation_has_its_bodies(api: Api) -> None:
    log = [
        activity("Email", id=f"acti_{n}", thread_id="conv", body_text=f"{n}", date_created=f"2026-01-0{n}")
        for n in (1, 2, 3)
    ]  # fmt: skip
    await api.apply(record(event(one)) for one in log)
    named = await recipes(api)

    emails = await run(named["conversation"], "conv")

    assert [email["body_text"] for email in emails] == ["1", "2", "3"]
    named["api"].close()


async def test_a_good_citizen_waits_and_gives_up_in_time(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="2/second") as api:
        named = await recipes(api)
        for _ in range(5):
            assert (await run(named["ask"], "/me/")).status_code == 200
        named["api"].close()
    async with serving(mongo, rate_limit="1/day") as api:
        named = await recipes(api)
        await run(named["ask"], "/me/")
        with pytest.raises(httpx.HTTPStatusError, match="429"):
            await run(named["ask"], "/me/", patience_seconds=1)
        named["api"].close()


async def show_app(_: web.Request) -> web.Response:
    return web.Response(text="<p>an app</p>", content_type="text/html")


async def test_a_page_of_an_allowed_origin_asks(mongo: Mongo) -> None:
    app = web.Application()
    app.router.add_get("/", show_app)
    async with TestServer(app) as other, async_playwright() as playwright:
        origin = f"http://127.0.0.1:{other.port}"
        browser = await playwright.chromium.launch(
            executable_path=str(find_chromium()), args=["--no-sandbox"]
        )
        page = await browser.new_page()
        await page.goto(f"{origin}/")
        call = f"(given) => {{ {blocks('js')} return newest(...given); }}"

        async with serving(mongo, cors_origins=(origin,)) as api:
            await api.apply([record(event(activity("Note", id=f"acti_{n}"))) for n in range(3)])
            url, key = api.url + BASE_PATH, await api.key()
            shown = await page.evaluate(call, [url, key, "lead_1"])
            with pytest.raises(Error, match="The API key is not known"):
                await page.evaluate(call, [url, "wrong", "lead_1"])
            with pytest.raises(Error, match="it names no id"):
                await page.evaluate(call, [url, key, ""])
        async with serving(mongo) as api:
            with pytest.raises(Error, match="Failed to fetch"):
                await page.evaluate(call, [api.url + BASE_PATH, await api.key(), "lead_1"])
        await browser.close()

    assert len(shown["rows"]) == 3
