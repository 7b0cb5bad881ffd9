"""The reaper and retention on a real Prefect server: who beats lives, who waits for people is left alone."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.states import Completed, Crashed, Pending, Running, Suspended

from flows.maintenance.reaper import ReaperConfig, ReaperReport, reaper
from flows.maintenance.retention import delete_checkpoints, delete_runs
from tasks.storage.workspace import Workspace


@flow(name="looked-after")
def looked_after() -> None:
    """Never run; its runs are put into states by hand."""


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def a_run(client: SyncPrefectClient, state: State, name: str, tag: str = "cleanplate") -> FlowRun:
    deployment = client.create_deployment(flow_id=client.create_flow(looked_after), name=name, tags=[tag])
    run = client.create_flow_run_from_deployment(deployment, name=name, tags=[tag])
    client.set_flow_run_state(run.id, state, force=True)
    return client.read_flow_run(run.id)


def state_of(client: SyncPrefectClient, run: FlowRun) -> str:
    state = client.read_flow_run(run.id).state
    return "" if state is None else str(state.name)


def beats(runs: list[UUID], over: threading.Event) -> None:
    while not over.wait(0.3):
        for run in runs:
            resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
            emit_event("prefect.flow-run.heartbeat", resource=resource)


def reaped(living: list[FlowRun], **settings: int) -> ReaperReport:
    """One call of the reaper while some runs' hearts beat; other tests' runs are not in the report."""
    over = threading.Event()
    heart = threading.Thread(target=beats, args=([run.id for run in living], over))
    heart.start()
    patient = {"heartbeat_window_seconds": 6, "pending_seconds": 3600, "crashed_seconds": 3600}
    report = reaper(ReaperConfig.model_validate({**patient, **settings}))
    over.set()
    heart.join()
    return report


def test_the_dead_are_buried_and_the_living_and_the_suspended_are_not_touched(
    client: SyncPrefectClient,
) -> None:
    dead = a_run(client, Running(), "dead")
    alive = a_run(client, Running(), "alive")
    waiting = a_run(client, Suspended(timeout_seconds=10_000), "waits for people")
    pending = a_run(client, Pending(), "on its way")
    another = a_run(client, Running(), "another team's", tag="theirs")
    reaper_before = a_run(client, Running(), "dead reaper", tag="cleanplate-maintenance")
    report = reaped([alive])
    assert report.dead == ["dead", "dead reaper"]
    assert [state_of(client, run) for run in (dead, reaper_before)] == ["Crashed", "Crashed"]
    assert [state_of(client, run) for run in (alive, waiting, pending, another)] == [
        "Running", "Suspended", "Pending", "Running",
    ]  # fmt: skip
    message = client.read_flow_run(dead.id).state
    assert message is not None
    assert message.message == "its process has died: no heartbeat for 6 s"


def test_a_pending_run_without_a_worker_and_a_forgotten_crash_come_back(client: SyncPrefectClient) -> None:
    lost = a_run(client, Pending(), "lost on its way")
    reaper_before = a_run(client, Pending(), "lost reaper", tag="cleanplate-maintenance")
    forgotten = a_run(client, Crashed(), "forgotten")
    report = reaped([], heartbeat_window_seconds=2, pending_seconds=1, crashed_seconds=1)
    assert "lost on its way" in report.dead
    assert "forgotten" in report.brought_back
    assert (state_of(client, lost), state_of(client, forgotten)) == ("Crashed", "AwaitingRetry")
    assert state_of(client, reaper_before) == "Crashed"


def test_who_was_started_too_often_stays_crashed(client: SyncPrefectClient) -> None:
    run = a_run(client, Running(), "started twice")
    for state in (Crashed(), Running(), Crashed()):
        client.set_flow_run_state(run.id, state, force=True)
    assert client.read_flow_run(run.id).run_count == 2
    report = reaped([], heartbeat_window_seconds=2, crashed_seconds=1, max_restarts=2)
    assert "started twice" in report.given_up
    assert state_of(client, run) == "Crashed"


def test_old_runs_go_and_young_ones_and_those_that_have_not_ended_stay(client: SyncPrefectClient) -> None:
    ended, running = a_run(client, Running(), "ended"), a_run(client, Running(), "not ended")
    client.set_flow_run_state(ended.id, Completed(), force=True)
    delete_runs(datetime.now(UTC) - timedelta(hours=1))
    names = {run.name for run in client.read_flow_runs()}
    assert {"ended", "not ended"} <= names
    assert delete_runs(datetime.now(UTC) + timedelta(seconds=1)) >= 1
    names = {run.name for run in client.read_flow_runs()}
    assert "ended" not in names
    assert state_of(client, running) == "Running"


def test_only_old_checkpoints_are_deleted(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    for name, days in (("a.checkpoint.safetensors", 31), ("b.checkpoint.safetensors", 29)):
        path = workspace.models_dir / name
        path.write_bytes(b"12345")
        moment = time.time() - days * 86_400
        os.utime(path, (moment, moment))
    (workspace.models_dir / "model").mkdir()
    # A link to nothing is, as a file that goes right after the folder was listed, there and not there.
    (workspace.models_dir / "c.checkpoint.safetensors.aside").symlink_to("gone")
    assert delete_checkpoints(workspace, 30) == (1, 5)
    assert sorted(path.name for path in workspace.models_dir.iterdir()) == [
        "b.checkpoint.safetensors",
        "c.checkpoint.safetensors.aside",
        "model",
    ]
