"""A worker with a run that dies and is started again: its crash is told once, and nobody runs beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import temporary_settings

from deploy.process_worker import WORKER_TYPE
from deploy.register import make_automations
from flows.runtime.prefect_server import Server
from tests.deploy.own_server import OwnServer, until

ROOT = Path(__file__).parents[2]
DIES_ONCE = """
import os, pathlib, signal, time
from prefect import flow
starts = pathlib.Path(STARTS)
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


def states_of_a_run_that_dies_once(client: SyncPrefectClient, place: Path, pool_type: str) -> list[str]:
    """The names of its states, in their order, once it has ended."""
    client.create_work_pool(WorkPoolCreate(name="dying", type=pool_type))
    deployment = client.create_deployment(
        client.create_flow(dies_once),
        name="dies-once",
        tags=["cleanplate"],
        work_pool_name="dying",
        path=str(place),
        entrypoint="dies_once.py:dies_once",
    )
    run = client.create_flow_run_from_deployment(deployment, tags=["cleanplate"])

    def ended() -> bool:
        state = client.read_flow_run(run.id).state
        return state is not None and state.is_completed()

    until(ended)
    return [state.name or "" for state in client.read_flow_run_states(run.id)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that answers crashes; a worker of its own is on the pool ``dying``."""
    starts = repr(str(tmp_path / "starts"))
    (tmp_path / "dies_once.py").write_text(DIES_ONCE.replace("STARTS", starts))
    with OwnServer(tmp_path) as own, (tmp_path / "worker.log").open("wb") as log:
        words = ["worker", "start", "--pool", "dying", "--type", WORKER_TYPE, "--name", "dying"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        ours = {
            "PREFECT_HOME": str(tmp_path),
            **own.server.environment(),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        command = [sys.executable, "-m", "deploy.process_worker", *words]
        worker = subprocess.Popen(command, cwd=ROOT, env={**kept, **ours}, stdout=log, stderr=log)
        yield own.server
        worker.terminate()
        worker.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("pool_type", [WORKER_TYPE, "process"])  # The latter: pools made before.
def test_a_crash_is_told_once_and_the_run_is_started_once_more(
    server: Server, tmp_path: Path, pool_type: str
) -> None:
    with temporary_settings(server.settings()), get_client(sync_client=True) as client:
        make_automations(client)
        states = states_of_a_run_that_dies_once(client, tmp_path, pool_type)
    assert (tmp_path / "starts").read_text() == "xx"
    assert states == [
        "Scheduled", "Pending", "Submitting", "Running", "Crashed",
        "AwaitingRetry", "Pending", "Submitting", "Running", "Completed",
    ]  # fmt: skip
