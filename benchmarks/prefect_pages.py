"""Take screenshots of Prefect's pages for docs/operations/nightly.md, in an offline Chromium.

It serves a new workspace. Its deployments run a small cycle, a night, a retraining, and a round that waits
for people. Then it takes the screenshots and prints the pages' errors.

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
from uuid import UUID

from playwright.sync_api import sync_playwright
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.settings import temporary_settings

from benchmarks._killing import ROOT
from benchmarks._processes import ends_in_time
from benchmarks._small_cycle import small_cycle
from flows.runtime.prefect_server import Server, free_port
from tasks.storage.prefect_password import make_password

_PATIENCE_SECONDS = 1800
_SETTLE_MS = 8000
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""No name outside this machine resolves."""


@ends_in_time
def main() -> None:
    """Fill a workspace and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/prefect"))
    parser.add_argument("--workspace", type=Path, help="goes on with one that was filled before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cleanplate-pages-") as folder:
        workspace = (arguments.workspace or Path(folder) / "plates").resolve()
        with served(workspace) as server:
            photograph(server, fill(server, workspace), arguments.out)


@contextmanager
def served(workspace: Path) -> Iterator[Server]:
    """Run `cleanplate serve` inside the context."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.cli.main", "serve", "--json", "--workspace", str(workspace)]
    environment = {**kept, "PREFECT_SERVER_API_PORT": str(port)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()).strip() != "}":
            if not line:
                raise SystemExit("serving did not start")
        try:
            yield Server(f"http://127.0.0.1:{port}/api", make_password(workspace / "prefect"))
        finally:
            process.terminate()


def fill(server: Server, workspace: Path) -> dict[str, UUID]:
    """Run what the pages shall show. Returns the runs by deployment, each ended or waiting."""
    cycle = small_cycle(workspace).model_dump(mode="json")
    sizes = {
        name: cycle[name]
        for name in ("retraining", "discriminator_training", "shard_items", "score_threshold")
    }
    few = {"human_items": 20, "automation_items": 20, "calibration_items": 20, "discriminator_test_items": 20}
    wanted: dict[str, dict[str, Any]] = {
        "rorem-cycle/manual": cycle,
        "nightly-compositing/nightly": {},
        "nightly-candidates/nightly": {"items": 60, "shard_items": 20, "score_threshold": 0.1},
        "retrain/retrain": {"training": cycle["retraining"]},
        "rorem-round/manual": {**sizes, **few, "round": 2, "human_review": {}},
    }
    return {deployment: run(server, deployment, config) for deployment, config in wanted.items()}


def run(server: Server, deployment: str, config: dict[str, Any]) -> UUID:
    """Start a run, once for any number of calls, and wait for it. Returns its id.

    Raises:
        SystemExit: If the run fails.
    """
    with _client(server) as client:
        known = client.read_deployment_by_name(deployment)
        settings = {"config": {**known.parameters["config"], **config}}
        made = client.create_flow_run_from_deployment(known.id, parameters=settings, idempotency_key="pages")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (state := client.read_flow_run(made.id).state) is None or not (
            state.is_completed() or state.is_paused()
        ):
            failed = state is not None and (state.is_failed() or state.is_crashed())
            if failed or time.monotonic() > deadline:
                raise SystemExit(f"{deployment}: {state}")
            time.sleep(1)
    return made.id


@contextmanager
def _client(server: Server) -> Iterator[SyncPrefectClient]:
    with temporary_settings(server.settings()), get_client(sync_client=True) as client:
        yield client


def photograph(server: Server, runs: dict[str, UUID], out: Path) -> None:
    """Save the pages as JPEG of 1400×1000."""
    out.mkdir(parents=True, exist_ok=True)
    address = server.api.removesuffix("/api")
    with sync_playwright() as playwright, _client(server) as client:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", _ALONE]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        # A request that the server had not answered when the next page opened is no error.
        page.on("requestfailed", lambda asked: _complain(asked.url) if address not in asked.url else None)
        page.on("pageerror", lambda error: print("error:", error))

        def take(name: str, place: str, *clicks: str) -> None:
            page.goto(address + place)
            for words in clicks:
                page.get_by_text(words, exact=True).first.click()
            page.wait_for_timeout(_SETTLE_MS)
            page.screenshot(path=out / f"{name}.jpg", type="jpeg", quality=80)

        page.goto(address)
        page.locator("input[type=password]").fill(server.password or "")
        page.keyboard.press("Enter")
        page.wait_for_url("**/dashboard**")
        night = runs["nightly-compositing/nightly"]
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[night]),
            key=ArtifactFilterKey(any_=["samples-composites-accepted"]),
        )
        (sheet,) = client.read_artifacts(artifact_filter=wanted)
        retrain = client.read_deployment_by_name("retrain/retrain")
        take("dashboard", "/dashboard")
        take("deployments", "/deployments")
        take("run", f"/runs/flow-run/{night}", "Artifacts")
        take("sheet", f"/artifacts/artifact/{sheet.id}")
        take("form", f"/deployments/deployment/{retrain.id}/run")
        take("waiting", f"/runs/flow-run/{runs['rorem-round/manual']}", "Resume")
        browser.close()


def _complain(url: str) -> None:
    print("not reached:", url)


if __name__ == "__main__":
    main()
