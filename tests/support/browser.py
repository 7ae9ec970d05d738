"""A page in headless Chromium, and what it says and asks for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 120_000  # of a machine that is loaded


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The machine's own Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        # No sandbox: root in a container has none, and the page is our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Reader:
    """Somebody who has a file open in a window so wide, in pixels, light or dark."""

    def __init__(
        self, browser: Browser, path: Path, width: int, scheme: Literal["light", "dark"] = "light"
    ) -> None:
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.page.set_default_timeout(TIMEOUT_MS)
        self.said: list[str] = []  # on the console, errors among it
        self.asked: list[str] = []  # addresses, those inside the page excepted
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.note(request.url))
        self.page.goto(path.as_uri())

    def note(self, address: str) -> None:
        """Remember what was asked for."""
        if not address.startswith("data:"):
            self.asked.append(address)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key, over and over."""
        for _ in range(times):
            self.page.keyboard.press(key)

    def focus(self, selector: str) -> str:
        """Go to the first such element by Tab alone, from the top; what its label says."""
        self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in range(200):
            self.press("Tab")
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                label = "e => e.getAttribute('aria-label') || e.labels[0].textContent"
                return str(self.page.evaluate(f"({label})(document.activeElement)")).strip()
        raise AssertionError(f"Tab does not reach {selector}")
