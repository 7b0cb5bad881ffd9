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

from benchmarks._review_server import review_server
from data_specs.candidate import Candidate
from data_specs.review_batch import QueuePolicy
from models.images.mask_variants import MaskVariant
from tasks.review.auth import invite
from tasks.review.batches import make_batch
from tasks.review.oracle import read_candidates
from tasks.rorem.propose import ProposeWork, propose
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.workspace import Workspace, items_of

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP review.example 127.0.0.1",
]


@dataclass
class ReviewService:
    """One tab; collects what the console complains of, beyond the 401 that asks for a token."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, context: BrowserContext, url: str) -> "ReviewService":
        review_page = cls(context.new_page())
        review_page.page.on("pageerror", lambda error: review_page.complaints.append(str(error)))
        review_page.page.on("console", lambda message: review_page._heard(message.type, message.text))
        review_page.page.goto(url)
        return review_page

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "401" not in text and "ERR_INTERNET_DISCONNECTED" not in text:
            self.complaints.append(text)

    def sign_in(self, token: str) -> "ReviewService":
        self.page.fill("#token", token)
        self.page.keyboard.press("Enter")
        return self.ready()

    def ready(self) -> "ReviewService":
        self.page.wait_for_selector("#candidate[data-state=ready]")
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
        decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert decoded is not None
        return np.asarray(decoded, np.uint8)


@dataclass(frozen=True)
class PageServer:
    """A running server, the candidates its batch asks about, and what the ledger says of the answers."""

    url: str
    batch: str
    workspace: Workspace
    candidates: dict[str, Candidate]

    def token(self, person: str) -> str:
        return invite(self.workspace.ledger(), person)

    def answers(self, person: str) -> dict[str, tuple[str, str]]:
        """Decision and reason of a person's answers that stand, by candidate."""
        reviews = self.workspace.ledger().reviews.valid(self.batch)
        mine = [review for review in reviews if review.reviewer == person]
        assert len({review.candidate for review in mine}) == len(mine), "nothing is counted twice"
        return {review.candidate: (review.decision, review.reason) for review in mine}


@pytest.fixture(scope="session")
def proposed(filmed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace with 192 candidates of 48 filmed items, whose truth is known; and their shard."""
    workspace = Workspace.open(
        shutil.copytree(filmed.workspace.root, tmp_path_factory.mktemp("proposed") / "workspace")
    )
    studio = SyntheticConfig(size_px=32, seed=5, split="train")
    pool = render(workspace, RenderWork(round=0, index=5, stage="pool", renderer=studio, first=0, count=48))
    variants: tuple[MaskVariant, ...] = ("tight", "dilated", "left", "right")
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(pool,),
        items=tuple(items_of(workspace, [pool])),
        variants=variants,
        remover=filmed.remover,
        image_format="png",
    )
    return workspace, propose(workspace, work)


def serve(proposed: Any, batch: str, policy: QueuePolicy) -> Iterator[PageServer]:
    workspace, ref = proposed
    make_batch(workspace, batch, [ref], policy)
    candidates = {candidate.key: candidate for candidate in read_candidates(workspace, ref)}
    with review_server(workspace, batch) as url:
        yield PageServer(url, batch, workspace, candidates)


@pytest.fixture(scope="module")
def page_server(proposed: Any, request: pytest.FixtureRequest) -> Iterator[PageServer]:
    """One a file: the server lets an address sign in ten times a minute."""
    policy = QueuePolicy(overlap_fraction=0, overlap_people=1, gold_fraction=0.25)
    yield from serve(proposed, request.module.__name__.rpartition(".")[2], policy)


@pytest.fixture
def short_lease_server(proposed: Any) -> Iterator[PageServer]:
    """Its leases end after ten seconds, the least there is."""
    yield from serve(proposed, "short", QueuePolicy(overlap_fraction=0, lease_seconds=10))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., ReviewService]]:
    """Opens a tab in a context of its own, and signs in where a token is given."""
    contexts: list[BrowserContext] = []

    def open_one(url: str, token: str = "", **options: Any) -> ReviewService:
        contexts.append(chromium.new_context(**options))
        contexts[-1].set_default_timeout(10_000)
        review_page = ReviewService.open(contexts[-1], url)
        return review_page.sign_in(token) if token else review_page

    yield open_one
    for context in contexts:
        context.close()
