"""Measure the time from key press to next image on screen, and the size of the page. Goal: ratio <= 1.

A real Chromium uses the real server with 512 px candidates. ``ratio`` is the median of the answers in ms,
divided by 100. The clock starts at the key event's own time. It stops after the frame that shows the next
candidate.

Run: python -m benchmarks.review_page [--answers 50] [--json]
"""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, Response, sync_playwright
from rich.console import Console

from benchmarks._images import image_like
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from benchmarks._review_server import review_server
from data_specs.candidate import Candidate
from data_specs.keys import derive_key, image_hash
from data_specs.review_batch import QueuePolicy
from tasks.review.auth import invite
from tasks.review.batches import make_batch
from tasks.storage.shards import encode_candidate, write_shard
from tasks.storage.workspace import Workspace

GOAL_MS = 100
SIDE_PX = 512
AHEAD = 20
"""Candidates beyond the answered ones, so that the queue never runs low."""
_CLOCK = """() => {
    window.pressedToShown = [];
    const stage = document.querySelector("#stage");
    addEventListener("keydown", (event) => {
        const before = stage.dataset.candidate;
        const look = () => {
            if (stage.dataset.candidate === before) return void requestAnimationFrame(look);
            // A message is handled after the frame that this callback belongs to was painted.
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => window.pressedToShown.push(performance.now() - event.timeStamp);
            requestAnimationFrame(() => port2.postMessage(0));
        };
        look();
    }, { capture: true });
}"""


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=50)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(Path(folder) / "workspace")
        fill(workspace, arguments.answers + AHEAD)
        token = invite(workspace.ledger(), "annotator")
        with review_server(workspace, "page") as url:
            milliseconds, weight = measure(url, token, arguments.answers)
    figures = {
        "ratio": statistics.median(milliseconds) / GOAL_MS,
        "goal": 1,
        "median_ms": statistics.median(milliseconds),
        "p95_ms": statistics.quantiles(milliseconds, n=20)[-1],
        "least_ms": min(milliseconds),
        "greatest_ms": max(milliseconds),
        "answers": len(milliseconds),
        "page_bytes_without_images": weight,
        "machine": machine(),
    }
    if arguments.as_json:
        print(json.dumps({**figures, "title": "key press to next image"}, indent=2))
        return
    for name, value in figures.items():
        Console().print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")


def fill(workspace: Workspace, count: int) -> None:
    """Make a batch ``page`` of candidates that cost as much as photographs."""
    ref = write_shard(
        workspace,
        stage="candidates",
        round=1,
        index=0,
        input_digest="review page",
        samples=(encode_candidate(candidate, "jpeg") for candidate in candidates(count)),
    )
    make_batch(workspace, "page", [ref], QueuePolicy(overlap_fraction=0))


def candidates(count: int) -> Iterator[Candidate]:
    """Candidates whose removal is the ground truth."""
    for triplet in image_like(count, SIDE_PX):
        yield Candidate(
            key=derive_key("review page", triplet.key),
            item=triplet.key,
            scene=triplet.scene,
            split=triplet.split,
            class_name="thing",
            variant="tight",
            model_hash="none",
            source_hash=image_hash(triplet.source),
            source=triplet.source,
            mask=triplet.mask,
            removal=triplet.ground_truth,
        )


def measure(url: str, token: str, answers: int) -> tuple[list[float], int]:
    """Milliseconds of each answer, and the bytes of all the page's files except images."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("there is no Chromium on PATH; on Debian: apt-get install chromium")
    sizes: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if not {"/images/", "/examples/", "/api/"} & {f"/{part}/" for part in response.url.split("/")}:
            sizes[response.url] = len(response.body())

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("response", weigh)
        page.goto(url)
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector("#candidate[data-state=ready]")
        milliseconds = _answer(page, answers)
        browser.close()
    return milliseconds, sum(sizes.values())


def _answer(page: Page, answers: int) -> list[float]:
    """Answer every half second, faster than anybody looks."""
    page.evaluate(_CLOCK)
    for number in range(answers):
        page.wait_for_timeout(500)
        page.keyboard.press("y" if number % 2 else "1")
        page.wait_for_function("count => window.pressedToShown.length === count", arg=number + 1)
    return page.evaluate("window.pressedToShown")


if __name__ == "__main__":
    main()
