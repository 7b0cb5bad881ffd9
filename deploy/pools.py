"""The work pools and queues that prefect.yaml names; made where they are missing, else left as they are."""

import torch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkQueueFilter, WorkQueueFilterName
from prefect.exceptions import ObjectNotFound

POOLS = ("cpu", "gpu")
QUEUES = {"keeper": 1, "hand": 2, "night": 3}
"""By priority, 1 first: what keeps the rest alive, what somebody waits for, what the morning waits for."""


def make_pools(client: SyncPrefectClient) -> None:
    """Process pools for this machine; the gpu pool takes as many runs at once as there are GPUs."""
    for pool in POOLS:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        for queue, priority in QUEUES.items():
            wanted = WorkQueueFilter(name=WorkQueueFilterName(any_=[queue]))
            if not client.read_work_queues(work_pool_name=pool, work_queue_filter=wanted):
                client.create_work_queue(name=queue, priority=priority, work_pool_name=pool)
    client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=max(1, torch.cuda.device_count())))
