"""The review page as tests hold it: the real server, a real Chromium, and a tab with an annotator's acts."""

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@dataclass
class Desk:
    """One tab; collects what the console complains of, beyond the 401 that asks for a token."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, context: BrowserContext, url: str) -> "Desk":
        desk = cls(context.new_page())
        desk.page.on("pageerror", lambda error: desk.complaints.append(str(error)))
        desk.page.on("console", lambda message: desk._heard(message.type, message.text))
        desk.page.goto(url)
        return desk

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "401" not in text and "ERR_INTERNET_DISCONNECTED" not in text:
            self.complaints.append(text)

    def sign_in(self, token: str) -> "Desk":
        self.page.fill("#token", token)
        self.page.keyboard.press("Enter")
        return self.ready()

    def ready(self) -> "Desk":
        self.page.wait_for_selector("#desk[data-state=ready]")
        return self

    @property
    def candidate(self) -> str:
        return self.page.get_attribute("#stage", "data-candidate") or ""

    def press(self, *keys: str) -> str:
        """Presses keys that answer the candidate on screen; gives that candidate once the next is there."""
        before = self.candidate
        for key in keys:
            self.page.keyboard.press(key)
        self.page.wait_for_function(
            "before => document.querySelector('#stage').dataset.candidate !== before", arg=before
        )
        self.ready()
        return before

    def said(self, words: str) -> None:
        self.page.wait_for_function(
            "words => document.querySelector('#said').textContent.includes(words)", arg=words
        )

    def settled(self) -> None:
        """Waits until the server has acknowledged every answer."""
        self.page.wait_for_selector("#unsent", state="hidden")

    def figure(self, name: str) -> float:
        return float(self.page.inner_text(f"#{name}"))

    def pixels(self, which: str) -> NDArray[np.uint8]:
        """A canvas as H×W×3 uint8."""
        script = "which => document.querySelector(`.${which} canvas`).toDataURL()"
        png = base64.b64decode(self.page.evaluate(script, which).partition(",")[2])
        decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_desk(chromium: Browser) -> Iterator[Callable[..., Desk]]:
    """Opens a tab in a context of its own, and signs in where a token is given."""
    contexts: list[BrowserContext] = []

    def open_one(url: str, token: str = "", **options: Any) -> Desk:
        contexts.append(chromium.new_context(**options))
        contexts[-1].set_default_timeout(10_000)
        desk = Desk.open(contexts[-1], url)
        return desk.sign_in(token) if token else desk

    yield open_one
    for context in contexts:
        context.close()
