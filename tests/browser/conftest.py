"""The timeline page in a real Chromium, over the real API and a real MongoDB."""

from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from deploy.local.folders import STACK_FOLDER
from deploy.local.prerequisites import find_chromium
from tests.api.conftest import Api, api

__all__ = ["api"]

# Where a failing test leaves what it saw.
PICTURES = STACK_FOLDER / "pictures"
_REPORT = pytest.StashKey[pytest.TestReport]()


@dataclass
class Screen:
    """One browser tab that looks at the timeline."""

    page: Page
    api: Api
    faults: list[str]

    async def open(self, fragment: str = "", *, key: str | None = None) -> None:
        """Open the page as a link with a key in its fragment does, and wait for its rows."""
        await self.page.goto("about:blank")
        given = f"#key={key or await self.api.key()}{fragment}"
        await self.page.goto(f"{self.api.url}/timeline/{given}")
        await self.wait_for_rows_of_a_page()

    async def wait_for_rows_of_a_page(self) -> None:
        """Until the first page is shown, be it empty."""
        names = ("shown", "whole", "empty")
        selectors = ", ".join(f'#state[data-state="{name}"]' for name in names)
        await self.page.wait_for_selector(selectors, state="attached")

    async def show_all(self) -> None:
        """Scroll down until nothing older is left."""
        await self.page.wait_for_function(
            """() => {
                scrollTo({ top: document.body.scrollHeight, behavior: "instant" });
                return document.querySelector("#state[data-state=whole]");
            }"""
        )

    async def rows(self) -> list[tuple[str, str]]:
        """Type and id of each row, from the top."""
        shown: list[list[str]] = await self.page.eval_on_selector_all(
            ".row", "rows => rows.map((row) => [row.dataset.type, row.dataset.id])"
        )
        return [(kind, id_) for kind, id_ in shown]

    async def wait_for_rows(self, expected: list[tuple[str, str]]) -> None:
        """Until just these are shown, in this order."""
        wanted = [list(one) for one in expected]
        await self.page.wait_for_function(
            "wanted => JSON.stringify([...document.querySelectorAll('.row')].map("
            "(row) => [row.dataset.type, row.dataset.id])) === JSON.stringify(wanted)",
            arg=wanted,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[_REPORT] = report
    return report


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of the page; each test has a profile of its own in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=str(find_chromium()), args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def appearance() -> dict[str, Any]:
    """What kind of reader it is; a test overrides it by parametrizing."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
async def screen(
    chromium: Browser, api: Api, appearance: dict[str, Any], request: pytest.FixtureRequest
) -> AsyncIterator[Screen]:
    """A tab. Whatever it reports as an error fails the test, unless the test takes it out."""
    context = await chromium.new_context(
        locale="en-GB", timezone_id="Europe/Lisbon", service_workers="block", **appearance
    )
    context.set_default_timeout(20_000)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    yield Screen(page, api, faults)
    report = request.node.stash.get(_REPORT, None)
    if report is not None and report.failed:
        PICTURES.mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        await page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)
    await context.close()
    assert faults == []
