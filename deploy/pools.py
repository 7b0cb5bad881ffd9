"""Create the work pools and queues that prefect.yaml names. A run's caller cannot choose the program."""

from typing import Any

import torch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkQueueFilter, WorkQueueFilterName
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound

from data_specs.errors import FlowError

POOLS = ("cpu", "gpu")
QUEUES = {"maintenance": 1, "manual": 2, "nightly": 3}
"""By priority, 1 first: what keeps the rest alive, what somebody waits for, what can wait until morning."""
PROCESS_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""A run's job has no options. Prefect's own template accepts a command, an environment and a folder."""
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
                WorkPoolCreate(name=pool, type="process", base_job_template=PROCESS_TEMPLATE)
            )
        for queue, priority in QUEUES.items():
            wanted = WorkQueueFilter(name=WorkQueueFilterName(any_=[queue]))
            if not client.read_work_queues(work_pool_name=pool, work_queue_filter=wanted):
                client.create_work_queue(name=queue, priority=priority, work_pool_name=pool)
    client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=max(1, torch.cuda.device_count())))


def _repair(client: SyncPrefectClient, pool: WorkPool) -> None:
    if pool.type == "process":
        if pool.base_job_template != PROCESS_TEMPLATE:
            client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=PROCESS_TEMPLATE))
        return
    open_to_all = sorted(CHOICES & set(pool.base_job_template.get("variables", {}).get("properties", {})))
    if open_to_all:
        raise FlowError(
            f"anyone who starts a run of the pool {pool.name} can choose its {', '.join(open_to_all)}; "
            "remove these from its base job template, as in deploy/kubernetes/gpu-job.json"
        )
