"""A worker with a run that dies and is started again: its crash is told once, and nobody runs beside it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from deploy.automations import make_automations

ROOT = Path(__file__).parents[2]
DIES_ONCE = """
import os, pathlib, signal, time
from prefect import flow
starts = pathlib.Path(__file__).with_name("starts")
time.sleep(6)  # As long as our flows take to be imported; the worker's look for hooks imports this, too.

@flow(name="dies-once")
def dies_once():
    with starts.open("a") as file:
        file.write("x")
    if starts.read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(20)
"""


@flow(name="dies-once")
def dies_once() -> None:
    """What the server knows of the flow in the file."""


def states_of_a_run_that_dies_once(client: SyncPrefectClient, place: Path) -> list[str]:
    """The names of its states, in their order, once it has ended."""
    client.create_work_pool(WorkPoolCreate(name="dying", type="process"))
    deployment = client.create_deployment(
        client.create_flow(dies_once),
        name="dies-once",
        tags=["cleanplate"],
        work_pool_name="dying",
        path=str(place),
        entrypoint="dies_once.py:dies_once",
    )
    run = client.create_flow_run_from_deployment(deployment, tags=["cleanplate"])
    deadline = time.monotonic() + 300
    while not ((state := client.read_flow_run(run.id).state) and state.is_completed()):
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.5)
    return [state.name or "" for state in client.read_flow_run_states(run.id)]


@pytest.mark.slow
def test_a_crash_is_told_once_and_the_run_is_started_once_more(prefect_server: None, tmp_path: Path) -> None:
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    api = PREFECT_API_URL.value()
    assert api is not None
    with get_client(sync_client=True) as client, (tmp_path / "log").open("wb") as log:
        make_automations(client)
        words = ["worker", "start", "--pool", "dying", "--type", "process", "--name", "dying"]
        worker = subprocess.Popen(
            [sys.executable, "-m", "deploy.process_worker", *words],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdout=log,
            stderr=log,
        )
        try:
            states = states_of_a_run_that_dies_once(client, tmp_path)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
    assert (tmp_path / "starts").read_text() == "xx"
    assert states == [
        "Scheduled", "Pending", "Submitting", "Running", "Crashed",
        "AwaitingRetry", "Pending", "Submitting", "Running", "Completed",
    ]  # fmt: skip
