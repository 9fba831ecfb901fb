"""What the timeline page shows is what the listing says, and nothing of it is ever markup."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe

from service.store.mongo import Mongo
from tests.api.conftest import Api, serving
from tests.browser.conftest import Screen
from tests.factories import TYPE_NAMES, activity, deletion, event, realistic_events, record
from tests.model import Model

HOSTILE = [
    "<script>window.hurt = 1</script>",
    '<img src="x" onerror="window.hurt = 1">',
    '"><svg onload="window.hurt = 1">',
    "</bdi></summary><iframe srcdoc='<script>parent.hurt = 1</script>'>",
    "{{constructor.constructor('window.hurt = 1')()}}",
    "javascript:window.hurt=1",
    " javascript:window.hurt=1",
    "data:text/html,<script>window.hurt=1</script>",
    'https://customer.example/" onmouseover="window.hurt=1',
    "vbscript:window.hurt",
    "\u202emoc.live\u202c مرحبا بالعالم",
    "a\x00b\u2028c",
    "x" * 5000,
]
# A connection on which nothing came for so long is given up by the page: one that is only silent does
# not end.
SILENCE_MILLISECONDS = 50_000


async def fill(api: Api, log: list[bytes]) -> Model:
    model = Model()
    for value in log:
        model.apply(value)
    await api.apply(log)
    return model


def realistic_log(count: int = 150, **more: Any) -> list[bytes]:
    return [record(one) for one in realistic_events(7, count, leads=3, users=3, **more)]


def listed(
    model: Model, parameters: Mapping[str, str], path: str = "/activity/"
) -> list[tuple[str, str]]:
    rows = model.walk(path, list(parameters.items()), "orga_1")
    return [(row["_type"], row["id"]) for row in rows]


@pytest.mark.parametrize("mode", ["only", "true", ""])
async def test_every_row_of_a_mode_is_shown(screen: Screen, api: Api, mode: str) -> None:
    model = await fill(api, realistic_log())

    await screen.open(f"&mode={mode}")
    await screen.show_all()

    expected = listed(model, {"thread_emails": mode} if mode else {})
    assert len(expected) > 100
    assert await screen.rows() == expected


async def test_filters_ask_what_they_say(screen: Screen, api: Api) -> None:
    model = await fill(api, realistic_log())
    await screen.open()
    page = screen.page

    await page.get_by_role("button", name="Call").click()
    await screen.wait_for_rows(listed(model, {}, "/activity/call/"))
    await page.get_by_label("Lead", exact=True).fill("lead_2")
    await page.keyboard.press("Tab")
    of_lead = {"lead_id": "lead_2", "_order_by": "-activity_at", "thread_emails": "only"}
    await screen.wait_for_rows(listed(model, {**of_lead, "_type": "Call"}))
    await page.get_by_role("button", name="Note").click()
    await screen.wait_for_rows(listed(model, {**of_lead, "_type": "Call,Note"}))
    await page.get_by_label("one by one").check()
    await page.get_by_label("From").fill("2026-01-03")
    await page.get_by_label("Up to").fill("2026-01-03")
    expected = {
        "lead_id": "lead_2",
        "_order_by": "-activity_at",
        "_type": "Call,Note",
        "activity_at__gte": "2026-01-03T00:00:00Z",
        "activity_at__lt": "2026-01-04T00:00:00Z",
    }
    await screen.wait_for_rows(listed(model, expected))

    await page.reload()
    await screen.wait_for_rows(listed(model, expected))


async def test_nothing_of_an_activity_is_markup(screen: Screen, api: Api) -> None:
    log = []
    for number, text in enumerate(HOSTILE):
        words = text.replace("\x00", "")
        log += [
            record(
                event(
                    activity("Note", id=f"acti_n{number}", title=words, note=words, user_name=words)
                )
            ),
            record(
                event(
                    activity(
                        "Call", id=f"acti_c{number}", recording_url=words, note=words, phone=words
                    )
                )
            ),
            record(
                event(
                    activity(
                        "Email",
                        id=f"acti_e{number}",
                        subject=f"{number} {words}",
                        sender=words,
                        body_text=words,
                        thread_id=f"thread_{number}",
                    )
                )
            ),
        ]
    await api.apply(log)
    await screen.open("&mode=true")
    page = screen.page

    for line in await page.locator(".row > details > summary").all():
        await line.click()
    await page.wait_for_function(
        "() => document.querySelectorAll('.row dl').length === document.querySelectorAll('.row').length"
    )

    assert await page.evaluate("window.hurt") is None
    inside = await page.evaluate(
        "[...new Set([...document.querySelectorAll('#days *')].map((one) => one.localName))].sort()"
    )
    known = {"a", "bdi", "button", "dd", "details", "div", "dl", "dt", "h2", "li", "ol", "p"}
    assert set(inside) <= known | {"section", "span", "summary", "svg", "time", "use"}
    links = await page.eval_on_selector_all(
        "#days a", "links => links.map((one) => [one.href, one.rel])"
    )
    assert all(href.startswith(("https://", "http://", "mailto:")) for href, _ in links)
    assert all(rel == "noopener noreferrer" for _, rel in links)
    await page.get_by_text("مرحبا").first.wait_for()


async def test_a_conversation_opens_in_its_place(screen: Screen, api: Api) -> None:
    log = [
        record(
            event(
                activity(
                    "Email",
                    id=f"acti_{number}",
                    subject="Quote",
                    thread_id="thread_1",
                    body_text=f"The words of email {number}.",
                    activity_at=f"2026-01-02T10:0{number}:00+00:00",
                )
            )
        )
        for number in range(3)
    ]
    await fill(api, log)
    await screen.open()
    page = screen.page

    await page.get_by_text("Quote (3)").click()
    emails = page.locator(".emails > li")
    await emails.nth(2).wait_for()
    await emails.nth(2).locator("summary").click()

    await page.locator(".emails .words").get_by_text("The words of email 0.").wait_for()


async def test_what_happens_meanwhile_appears_by_itself(screen: Screen, api: Api) -> None:
    await see_what_happens(screen, api)


async def test_where_nobody_can_follow_it_appears_all_the_same(
    screen: Screen, mongo: Mongo
) -> None:
    async with serving(replace(mongo, keeps_feed=False)) as api:
        await see_what_happens(Screen(screen.page, api, screen.faults), api)
        assert screen.faults.pop().endswith("406 (Not Acceptable)")


async def see_what_happens(screen: Screen, api: Api) -> None:
    model = await fill(api, realistic_log(60))
    page = screen.page
    await page.clock.install()
    await screen.open("&mode=true")
    late = activity(
        "Note", id="acti_late", title="It came late", date_created="2026-01-02T09:00:00+00:00"
    )
    now = activity(
        "Note", id="acti_now", title="It came now", date_created="2026-02-02T09:00:00+00:00"
    )

    for value in (record(event(late)), record(event(now))):
        model.apply(value)
        await api.apply([value])
    await page.clock.fast_forward(15_000)
    await screen.wait_for_rows(listed(model, {"thread_emails": "true"}))

    gone = record(deletion(late, date_updated="2026-03-01T00:00:00"))
    model.apply(gone)
    await api.apply([gone])
    await page.clock.fast_forward(15_000)
    await screen.wait_for_rows(listed(model, {"thread_emails": "true"}))


async def test_a_wrong_key_is_refused_and_forgotten(screen: Screen, api: Api) -> None:
    await fill(api, realistic_log(20))
    page = screen.page
    await page.goto(f"{api.url}/timeline/#key=wrong")

    await page.get_by_text("This key is not known, or no longer in force.").wait_for()
    assert "wrong" not in page.url
    assert await page.evaluate("sessionStorage.length") == 0
    await page.get_by_label("API key").fill(await api.key())
    await page.keyboard.press("Enter")
    await screen.wait_for_rows_of_a_page()

    await page.get_by_role("button", name="Forget the key").click()
    await page.get_by_label("API key").wait_for()
    assert await page.evaluate("sessionStorage.length") == 0
    screen.faults.clear()  # the browser's own lines about 401


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_that_passes_is_waited_out(screen: Screen, api: Api, status: int) -> None:
    model = await fill(api, realistic_log(20))
    refusals = 0

    async def refuse_once(route: Any) -> None:
        nonlocal refusals
        if refusals or "_limit=100" not in route.request.url:
            await route.continue_()
            return
        refusals += 1
        body = '{"error": {"message": "Please ask again later.", "rate_reset": 1}}'
        await route.fulfill(status=status, headers={"Retry-After": "1"}, body=body)

    await screen.page.route("**/api/v1/activity/**", refuse_once)
    await screen.page.goto(f"{api.url}/timeline/#key={await api.key()}")

    await screen.page.get_by_text("Please ask again later. Asking again in 1 s.").wait_for()
    await screen.wait_for_rows(listed(model, {"thread_emails": "only"}))
    screen.faults.clear()  # the browser's own line about the status


async def test_a_lost_connection_is_shown_and_comes_back(screen: Screen, api: Api) -> None:
    await fill(api, realistic_log(20))
    page = screen.page
    await page.clock.install()
    await screen.open()
    await page.locator('#sign[data-sign="live"]').wait_for()

    await page.context.set_offline(True)
    await page.clock.fast_forward(SILENCE_MILLISECONDS)
    await page.locator('#sign[data-sign="away"]').wait_for()
    assert len(await screen.rows()) > 0
    await page.context.set_offline(False)
    await page.clock.fast_forward(SILENCE_MILLISECONDS)
    await page.locator('#sign[data-sign="live"]').wait_for()
    screen.faults.clear()  # the browser's own lines about the network


async def test_the_page_is_worked_by_keyboard_alone(screen: Screen, api: Api) -> None:
    model = await fill(api, realistic_log(40))
    page = screen.page
    await page.goto(f"{api.url}/timeline/")

    await page.keyboard.type(await api.key())
    await page.keyboard.press("Enter")
    await screen.wait_for_rows_of_a_page()
    await _tab_to(screen, "#lead")
    await page.keyboard.type("lead_1")
    await _tab_to(screen, '.chip[data-type="Note"]')
    await page.keyboard.press("Enter")
    asked = {"lead_id": "lead_1", "_order_by": "-activity_at", "_type": "Note"}
    await screen.wait_for_rows(listed(model, {**asked, "thread_emails": "only"}))
    await _tab_to(screen, ".row summary")
    await page.keyboard.press("Enter")

    await page.locator(".row dl").first.wait_for()
    await page.keyboard.press("Enter")
    assert await page.locator(".row details[open]").count() == 0


async def _tab_to(screen: Screen, selector: str) -> None:
    for _ in range(60):
        if await screen.page.evaluate(
            "selector => document.activeElement.matches(selector)", selector
        ):
            return
        await screen.page.keyboard.press("Tab")
    raise AssertionError(f"no way to {selector} by keyboard")


@pytest.mark.parametrize(
    "appearance",
    [
        {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    ids=["wide and light", "narrow and dark"],
)
async def test_the_page_is_accessible_and_fits(screen: Screen, api: Api) -> None:
    rng = random.Random(5)
    log = [record(event(activity(name, rng=rng, id=f"acti_{name}"))) for name in TYPE_NAMES]
    await fill(api, log)
    await screen.open("&mode=true")
    for line in (await screen.page.locator(".row > details > summary").all())[:3]:
        await line.click()
    await screen.page.locator(".row dl").nth(2).wait_for()

    found = await Axe().run(screen.page)

    assert [(one["id"], one["impact"]) for one in found.response["violations"]] == []
    width = await screen.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0


async def test_times_are_the_readers(screen: Screen, api: Api) -> None:
    """In Lisbon, summer has begun: 23:30 UTC is the next day there."""
    late = activity("Note", title="Nearly midnight", date_created="2026-06-30T23:30:00+00:00")
    await api.apply([record(event(late))])

    await screen.open()

    heading = screen.page.locator("#days h2")
    assert await heading.inner_text() == "Wednesday, 1 July 2026"
    shown = screen.page.locator(".row time").first
    assert (await shown.inner_text()).startswith("00:30")
    assert "1 July 2026 at 00:30" in (await shown.get_attribute("title") or "")


async def test_a_thousand_rows_come_page_by_page(screen: Screen, api: Api) -> None:
    model = await fill(api, realistic_log(1200, share_of_updates=0.0, share_of_deletes=0.0))
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(request.url))
    await screen.open("&mode=")
    first = sum("_limit=100" in url for url in asked)

    await screen.show_all()

    assert first <= 2
    assert await screen.rows() == listed(model, {})
