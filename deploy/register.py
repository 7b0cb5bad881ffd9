"""Register everything in prefect.yaml, and the automations, with a Prefect server. It is safe to repeat.

`python -m deploy.register` runs it alone, for a server and workers in their own containers.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkQueueFilter, WorkQueueFilterName
from prefect.client.schemas.objects import StateType, WorkPool
from prefect.events.actions import ActionTypesOrUnknown, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import temporary_settings

from data_specs.errors import CleanplateError, FlowError
from deploy.process_worker import WORKER_TYPE
from flows.maintenance.reaper import TAG, ReaperConfig
from flows.runtime.prefect_server import NoServer, Server, find_server
from tasks.storage.workspace import Workspace

# The automation that starts crashed runs again.

BRING_BACK = "cleanplate: crashed runs are started again"


def crashed_to_retry(max_restarts: int) -> AutomationCore:
    """Build the automation: a crashed run with fewer than ``max_restarts`` starts awaits its retry."""
    return AutomationCore(
        name=BRING_BACK,
        description=f"A run tagged {TAG} that crashed is started again, up to {max_restarts} starts in all.",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification(
                {
                    "prefect.resource.id": "prefect.flow-run.*",
                    "prefect.run-count": [str(count) for count in range(max_restarts)],
                }
            ),
            match_related=ResourceSpecification(
                {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
            ),
            threshold=1,
        ),
        actions=list[ActionTypesOrUnknown](
            [
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message="crashed; started again by cleanplate",
                    force=False,
                )
            ]
        ),
    )


def make_automations(client: SyncPrefectClient, max_restarts: int = ReaperConfig().max_restarts) -> None:
    """Register the automation, or update the existing one."""
    wanted = crashed_to_retry(max_restarts)
    present = client.read_automations_by_name(BRING_BACK)
    for automation in present:
        client.update_automation(automation.id, wanted)
    if not present:
        client.create_automation(wanted)


# The work pools and queues that prefect.yaml names. A run's caller cannot choose the program.

POOLS = ("cpu", "gpu")
QUEUES = {"maintenance": 1, "manual": 2, "nightly": 3}
"""By priority, 1 first: what keeps the rest alive, what somebody waits for, what can wait until morning."""
PROCESS_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""A run's job has no options. Prefect's own template accepts a command, an environment and a folder."""
_OLD_TYPE = "process"
"""Type of pools that were made before our worker had its own. They stay: runs may wait in them."""
CHOICES = frozenset({"command", "env", "working_dir", "image"})
"""Options with which the caller of a run could choose the program, or what it loads."""


def make_pools(client: SyncPrefectClient) -> None:
    """Create process pools for this machine. The gpu pool runs as many runs at once as there are GPUs.

    Raises:
        FlowError: If a pool of another type lets its callers choose the command.
    """
    for pool in POOLS:
        try:
            _repair(client, client.read_work_pool(pool))
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(name=pool, type=WORKER_TYPE, base_job_template=PROCESS_TEMPLATE)
            )
        for queue, priority in QUEUES.items():
            wanted = WorkQueueFilter(name=WorkQueueFilterName(any_=[queue]))
            if not client.read_work_queues(work_pool_name=pool, work_queue_filter=wanted):
                client.create_work_queue(name=queue, priority=priority, work_pool_name=pool)
    client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=max(1, torch.cuda.device_count())))


def _repair(client: SyncPrefectClient, pool: WorkPool) -> None:
    if pool.type in (WORKER_TYPE, _OLD_TYPE):
        if pool.base_job_template != PROCESS_TEMPLATE:
            client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=PROCESS_TEMPLATE))
        return
    open_to_all = sorted(CHOICES & set(pool.base_job_template.get("variables", {}).get("properties", {})))
    if open_to_all:
        raise FlowError(
            f"anyone who starts a run of the pool {pool.name} can choose its {', '.join(open_to_all)}; "
            "remove these from its base job template, as in deploy/kubernetes/gpu-job.json"
        )


# All that prefect.yaml names, in its order.

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")


def register(server: Server, workspace: Workspace, profile: str) -> None:
    """Register pools and queues, then deployments with their schedules and triggers, then the automations.

    Args:
        server: The Prefect server.
        workspace: The workspace of the deployments. They get its address. The address of a store is valid on
            every machine.
        profile: The profile of those that train or remove: tiny, full, or a JSON file's path.

    Raises:
        FlowError: If Prefect refuses the deployments, or a pool lets its callers choose the command.
    """
    with temporary_settings(server.settings()), get_client(sync_client=True) as client:
        make_pools(client)
        _deploy(server, workspace, profile)
        make_automations(client)


def _deploy(server: Server, workspace: Workspace, profile: str) -> None:
    """Register the file with Prefect's own command, so that it means what Prefect's documentation says."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "prefect",
            "--no-prompt",
            "deploy",
            "--all",
            "--prefect-file",
            str(PREFECT_FILE),
        ],
        env={
            **os.environ,
            **server.environment(),
            "CLEANPLATE_WORKSPACE": workspace.address,
            "CLEANPLATE_PROFILE": profile,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise FlowError(f"Prefect refused {PREFECT_FILE.name}: " + "\n".join(said))


def main() -> None:
    """Create the workspace CLEANPLATE_WORKSPACE if it is missing, and register its deployments."""
    try:
        workspace = Workspace.open(os.environ.get("CLEANPLATE_WORKSPACE", "workspace"))
        server = find_server(workspace.root / "prefect")
        if isinstance(server, NoServer):
            raise FlowError(
                server.reason
                or f"no Prefect server answers at {server.api}; start one with `cleanplate serve`"
            )
        register(server, workspace, os.environ.get("CLEANPLATE_PROFILE", "tiny"))
    except CleanplateError as error:
        sys.exit(f"cleanplate: {error}")
    print(f"{workspace.address} is registered at {server.api}")


if __name__ == "__main__":
    main()
