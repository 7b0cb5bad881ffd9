"""A round that waits for people, on a real Prefect server with a real worker; both are killed on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import temporary_settings

from benchmarks._review_server import ReviewServer
from data_specs.review_batch import QueuePolicy
from flows.rorem.config import RoundConfig
from flows.rorem.phases import Phase
from flows.rorem.round import rorem_round
from flows.runtime.prefect_server import Server, free_port, is_ours, server_command
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.review.auth import invite
from tasks.review.suspended_runs import COMPLETE_EVENT
from tasks.rorem.grow import candidates_by_item
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import load_samples
from tasks.storage.prefect_password import make_password
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 240


def until(what: Callable[[], Any]) -> Any:
    """What it gives once that is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return found


class Process:
    """A process of ours that can be killed with all it has started, and started again."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._command, self._environment, self._log = command, environment, log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def prefect(studio: SimpleNamespace, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """The workspace's own server; ``called``, ``server``, ``start_worker()``.

    Whoever wakes a run is told no password and finds it in the workspace.
    """
    home, port = studio.workspace.root / "prefect", free_port()
    called = Server(f"http://127.0.0.1:{port}/api", make_password(home))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept, **called.environment(), "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_QUERY_SECONDS": "1",
        "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    started: list[Process] = []

    def start(name: str, *command: str) -> Process:
        started.append(Process([sys.executable, *command], environment, tmp_path / f"{name}.log"))
        return started[-1]

    server = start("server", *server_command(port)[1:])
    until(lambda: is_ours(called))
    worker = ("-m", "prefect", "worker", "start", "--pool", "people", "--type", "process")
    try:
        yield SimpleNamespace(
            called=called, server=server, start=start, start_worker=lambda: start("worker", *worker)
        )
    finally:
        for process in reversed(started):
            process.kill()


@pytest.fixture
def client(prefect: SimpleNamespace) -> Iterator[SyncPrefectClient]:
    with temporary_settings(prefect.called.settings()), get_client(sync_client=True) as client:
        yield client


def people_config(workspace: Workspace, **changes: Any) -> RoundConfig:
    facts = {
        "workspace": workspace.root, "human_review": QueuePolicy(overlap_fraction=0),
        "acceptance": "none_after_humans",
        "human_items": 3, "automation_items": 1, "variants": ("tight", "dilated"), "shard_items": 2,
        "sampling": SamplingConfig(steps=1), "retraining": TrainingConfig(steps=2, batch_size=4),
    }  # fmt: skip
    return RoundConfig.model_validate({**facts, **changes})


def start_round(client: SyncPrefectClient, config: RoundConfig) -> FlowRun:
    """A deployment in a process pool, as `cleanplate serve` will make it, and a run of it."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.create_work_pool(WorkPoolCreate(name="people", type="process"))
    deployment = client.create_deployment(
        flow_id=client.create_flow(rorem_round), name="people", work_pool_name="people",
        entrypoint="flows.rorem.round.rorem_round",
    )  # fmt: skip
    parameters = {"config": config.model_dump(mode="json")}
    return client.create_flow_run_from_deployment(deployment, parameters=parameters)


def state_of(client: SyncPrefectClient, run: FlowRun) -> str:
    state = client.read_flow_run(run.id).state
    return "" if state is None else str(state.name)


def pairs_to_compare_on(workspace: Workspace) -> None:
    studio = SyntheticConfig(size_px=32, seed=5, split="validation")
    render(workspace, RenderWork(round=0, index=9, stage="triplets", renderer=studio, first=0, count=4))


def answer_over_http(server: ReviewServer, token: str, yes: set[str]) -> None:
    """One person answers all that is left, as the page would."""
    with httpx.Client(base_url=server.address, headers={"X-Cleanplate-CSRF": "none yet"}, timeout=60) as page:
        page.post("/api/session", json={"token": token}).raise_for_status()
        page.headers["X-Cleanplate-CSRF"] = page.get("/api/state").json()["csrf"]
        while items := page.post("/api/lease", json={"count": 4}).json()["items"]:
            for item in items:
                decision = "yes" if item["candidate"] in yes else "no"
                answer = {
                    "lease": item["lease"],
                    "decision": decision,
                    "seconds": 1.5,
                    "page_version": "test",
                }
                page.post("/api/answer", json=answer).raise_for_status()


def grown_from(workspace: Workspace) -> set[str]:
    """The candidates that became triplets of the current version."""
    current = workspace.ledger().versions.current()
    assert current is not None
    refs = [
        workspace.ledger().shards.named(s.shard)
        for s in load_samples(workspace, current.number)
        if s.stage == "grown"
    ]
    with ShardReader(workspace, list(dict.fromkeys(refs))) as reader:
        return {decode_triplet(reader[i]).origin.removeprefix("candidate:") for i in range(len(reader))}


@pytest.mark.slow
def test_it_waits_and_goes_on_whatever_is_killed(
    prefect: SimpleNamespace, client: SyncPrefectClient, studio: SimpleNamespace, tmp_path: Path
) -> None:
    workspace, ledger = studio.workspace, studio.workspace.ledger()
    pairs_to_compare_on(workspace)
    config = people_config(workspace)
    batch = Phase(config.identity.key, "human 1", "human", 1).batch
    worker, run = prefect.start_worker(), start_round(client, config)
    until(lambda: state_of(client, run) == "Suspended")
    worker.kill()
    assert ledger.batches.counts(batch).left == ledger.batches.counts(batch).items == 3 * 2
    assert ledger.versions.current() == studio.version

    for form in (
        {},
        {"decision": "perhaps"},
        {"decision": "extend", "items": 0},
        {"decision": "continue", "x": 1},
    ):
        assert client.resume_flow_run(run.id, form).status == SetStateStatus.REJECT
        assert state_of(client, run) == "Suspended"

    prefect.server.kill()
    refs = [ref for ref in ledger.shards.all(stage="candidates") if ref.round == 1]
    (a, b), (c, _), _ = candidates_by_item(workspace, refs).values()
    server = ReviewServer(workspace.root, batch, tmp_path / "review.log")
    try:
        answer_over_http(server, invite(ledger, "ada"), yes={a, b, c})
        assert ledger.batches.counts(batch).left == 0
        server.kill()
        prefect.server.start()
        until(lambda: is_ours(prefect.called))
        assert state_of(client, run) == "Suspended"
        server.start()
        until(lambda: state_of(client, run) != "Suspended")
    finally:
        server.kill()
    assert client.resume_flow_run(run.id, {"decision": "abandon"}).status == SetStateStatus.ABORT

    prefect.start_worker()
    until(lambda: state_of(client, run) in ("Completed", "Failed", "Crashed"))
    assert state_of(client, run) == "Completed"
    automated = {
        s.key
        for r in ledger.shards.all(stage="candidates")
        if r.purpose == "automation"
        for s in ledger.shards.samples_of(r.name)
    }
    assert grown_from(workspace) - automated == {min(a, b), c}, "one YES of each item, and no other"
    current = ledger.versions.current()
    assert current is not None
    assert current.samples == studio.version.samples + 2 + config.automation_items
    assert [each.kind for each in ledger.batches.events(batch)] == ["opened", "continued"]
    named = {"filter": {"event": {"name": [COMPLETE_EVENT]}}}
    told = client.request("POST", "/events/filter", json=named).json()
    assert told["total"] == 1
    assert told["events"][0]["payload"]["yes"] == 3
