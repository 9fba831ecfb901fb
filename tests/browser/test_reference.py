"""The reference page in a real Chromium: every operation, from this service alone, and at work."""

from service.activities.types import TYPES
from tests.api.conftest import Api
from tests.browser.conftest import Screen


async def test_every_operation_is_shown_from_this_service_alone(screen: Screen, api: Api) -> None:
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(request.url))

    await screen.page.goto(f"{api.url}/docs/")
    await screen.page.wait_for_selector(".opblock")

    shown = await screen.page.locator(".opblock-summary-path").count()
    assert shown == 2 * (1 + len(TYPES)) + 2
    assert [url for url in asked if not url.startswith((f"{api.url}/", "data:"))] == []


async def test_a_request_is_sent_with_a_key(screen: Screen, api: Api) -> None:
    page = screen.page
    await page.goto(f"{api.url}/docs/#/about/getMe")

    await page.locator(".auth-wrapper .authorize").click()
    await page.locator("#auth-bearer-value").fill(await api.key())
    await page.locator(".auth-btn-wrapper .authorize").last.click()
    await page.locator(".modal-ux .close-modal").click()
    await page.locator(".try-out__btn").click()
    await page.locator(".btn.execute").click()

    # Only what was typed in is sent: no example of a parameter.
    answered = page.locator(".live-responses-table")
    await answered.get_by_text("orga_1").first.wait_for()
    assert "If-None-Match" not in await page.locator(".curl-command").inner_text()
