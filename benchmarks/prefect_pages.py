"""Pictures of Prefect's pages for docs/prefect.md: a served workspace with real runs, in a Chromium offline.

Serves a new workspace, has its deployments do a small cycle, a night, a retraining and a round that waits for
people, and photographs the pages. Prints what the pages complained of.
Run: python -m benchmarks.prefect_pages [--out docs/prefect] [--workspace FOLDER]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from benchmarks._killing import ROOT
from benchmarks._small_cycle import small_cycle
from flows.local_prefect import free_port

_PATIENCE_SECONDS = 1800
_SETTLE_MS = 5000
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""No name outside this machine is found."""


def main() -> None:
    """Fills a workspace and photographs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/prefect"))
    parser.add_argument("--workspace", type=Path, help="goes on with one that was filled before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanplate-pages-") as folder:
        workspace = (arguments.workspace or Path(folder) / "plates").resolve()
        with served(workspace) as server:
            photograph(server, fill(server, workspace), arguments.out)


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """`cleanplate serve` while inside; gives the server's address."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.command_line", "serve", "--json", "--workspace", str(workspace)]
    environment = {**kept, "PREFECT_SERVER_API_PORT": str(port)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()).strip() != "}":
            if not line:
                raise SystemExit("serving did not start")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def fill(server: str, workspace: Path) -> dict[str, str]:
    """The runs to be seen, by deployment, each when it has ended or waits."""
    cycle = small_cycle(workspace).model_dump(mode="json")
    sizes = {name: cycle[name] for name in ("retraining", "judge_training", "shard_items", "keep_above")}
    few = {"human_items": 20, "automation_items": 20, "calibration_items": 20, "judge_test_items": 20}
    wanted: dict[str, dict[str, Any]] = {
        "rorem-cycle/by-hand": cycle,
        "nightly-compositing/nightly": {},
        "nightly-candidates/nightly": {"items": 60, "shard_items": 20, "keep_above": 0.1},
        "retrain/retrain": {"training": cycle["retraining"]},
        "rorem-round/by-hand": {**sizes, **few, "round": 2, "people": {}},
    }
    return {deployment: run(server, deployment, config) for deployment, config in wanted.items()}


def run(server: str, deployment: str, config: dict[str, Any]) -> str:
    """Starts a run, once however often this is called, and waits for it; gives its id.

    Raises:
        SystemExit: When the run fails.
    """
    with httpx.Client(base_url=f"{server}/api", timeout=120) as client:
        known = client.get(f"/deployments/name/{deployment}").raise_for_status().json()
        parameters = {"config": {**known["parameters"]["config"], **config}}
        body = {"parameters": parameters, "idempotency_key": "pages"}
        made = client.post(f"/deployments/{known['id']}/create_flow_run", json=body).raise_for_status().json()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (state := client.get(f"/flow_runs/{made['id']}").json()["state"])["type"] not in (
            "COMPLETED",
            "PAUSED",
        ):
            if state["type"] in ("FAILED", "CRASHED") or time.monotonic() > deadline:
                raise SystemExit(f"{deployment}: {state['name']}, {state['message']}")
            time.sleep(1)
    return made["id"]


def photograph(server: str, runs: dict[str, str], out: Path) -> None:
    """The pages as JPEG of 1400×1000."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, httpx.Client(base_url=f"{server}/api", timeout=120) as client:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", _ALONE]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("requestfailed", lambda request: print("not reached:", request.url))
        page.on("pageerror", lambda error: print("error:", error))

        def take(name: str, place: str, *clicks: str) -> None:
            page.goto(server + place)
            for words in clicks:
                page.get_by_text(words, exact=True).first.click()
            page.wait_for_timeout(_SETTLE_MS)
            page.screenshot(path=out / f"{name}.jpg", type="jpeg", quality=80)

        night = runs["nightly-compositing/nightly"]
        of_night = {"artifacts": {"flow_run_id": {"any_": [night]}}}
        sheets = client.post("/artifacts/filter", json=of_night).json()
        (sheet,) = (each["id"] for each in sheets if each["key"] == "samples-composites-accepted")
        retrain = client.get("/deployments/name/retrain/retrain").json()["id"]
        take("dashboard", "/dashboard")
        take("deployments", "/deployments")
        take("run", f"/runs/flow-run/{night}", "Artifacts")
        take("sheet", f"/artifacts/artifact/{sheet}")
        take("form", f"/deployments/deployment/{retrain}/run")
        take("waiting", f"/runs/flow-run/{runs['rorem-round/by-hand']}", "Resume")
        browser.close()


if __name__ == "__main__":
    main()
