"""A real Chromium before the real page: what a person sees and does, and what the page must never do.

The browser is the system's own (Debian: `apt-get install chromium`); nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, async_playwright, expect

from tests.e2e.client import PATIENCE

WIDE = {"width": 1440, "height": 1000}
NARROW = {"width": 360, "height": 740}
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
SERIOUS = ("serious", "critical")
expect.set_options(timeout=PATIENCE * 1000)


@contextlib.asynccontextmanager
async def chromium(path: str) -> AsyncIterator[Browser]:
    """A browser without a window."""
    # Chromium refuses its sandbox to root, as which builds run in containers. It sees nothing but our own page.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


class Screen:
    """The dashboard in one tab."""

    def __init__(self, page: Page, context: BrowserContext) -> None:
        self.page = page
        self.context = context
        self.mistakes: list[str] = []
        page.on("pageerror", lambda error: self.mistakes.append(f"{error}\n{error.stack}"))
        page.on("console", self._listen)

    def _listen(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or message.type == "warning":
            self.mistakes.append(message.text)

    # Finding

    def pool(self, name: str) -> Locator:
        """The card of a pool."""
        return self.page.get_by_role("article", name=name, exact=True)

    def backend(self, name: str, pool: str = "app") -> Locator:
        """The row of a backend."""
        return self.pool(pool).get_by_role("listitem").filter(has=self.page.get_by_text(name, exact=True)).first

    def state(self, name: str, pool: str = "app") -> Locator:
        """The word for its state."""
        return self.backend(name, pool).locator(".chip")

    def order(self, word: str, name: str) -> Locator:
        """One of the three buttons of a backend."""
        return self.page.get_by_role("button", name=f"{word} {name}", exact=True)

    @property
    def sentence(self) -> Locator:
        """How things stand."""
        return self.page.get_by_role("heading", level=1)

    @property
    def journal(self) -> Locator:
        """The timeline."""
        return self.page.get_by_role("region", name="Journal entries")

    @property
    def token(self) -> Locator:
        """The field for the token, where it is asked for."""
        return self.page.get_by_label("Token")

    async def enter(self, token: str) -> None:
        """Give the token."""
        await self.token.fill(token)
        await self.token.press("Enter")

    @property
    def dialog(self) -> Locator:
        """The question that is asked now."""
        return self.page.get_by_role("dialog")

    # Looking

    async def focused(self) -> str:
        """The text of what has the focus."""
        text: str = await self.page.evaluate("document.activeElement.innerText")
        return " ".join(text.split())

    async def violations(self) -> list[str]:
        """What axe-core calls a serious or critical violation of accessibility, with what it found where."""
        await self.page.evaluate(AXE.read_text())
        report: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {[(node['target'], node['failureSummary']) for node in one['nodes'][:3]]}"
            for one in report["violations"]
            if one["impact"] in SERIOUS
        ]

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wider: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wider


@contextlib.asynccontextmanager
async def looking(browser: Browser, url: str, **options: Any) -> AsyncIterator[Screen]:
    """Open the page in a session of its own; at the end it must not have made a mistake."""
    context = await browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce"} | options)
    context.set_default_timeout(PATIENCE * 1000)
    try:
        screen = Screen(await context.new_page(), context)
        await screen.page.goto(url)
        yield screen
    finally:
        await context.close()
    if screen.mistakes:
        raise AssertionError(screen.mistakes)
