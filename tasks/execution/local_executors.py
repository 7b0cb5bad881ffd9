"""From a config to its workers: one set a process for each config, started when it is first needed."""

import os
from threading import Lock

from data_specs.errors import WorkerError
from tasks.execution.config import InlineConfig, ProcessesConfig, RayConfig, WorkersConfig
from tasks.execution.executor import Pool
from tasks.execution.inline import InlineWorkers
from tasks.execution.process_slot import ProcessSlot
from tasks.execution.protocol import Workers

_open: dict[WorkersConfig, Workers] = {}
_opening = Lock()


def workers_of(config: WorkersConfig) -> Workers:
    """The workers a config describes; asked again, the same ones, with what they have loaded.

    Raises:
        WorkerError: If Ray is asked for and is not installed.
    """
    with _opening:
        if config not in _open:
            _open[config] = open_workers(config)
        return _open[config]


def open_workers(config: WorkersConfig) -> Workers:
    """Workers of the caller's own; raises as ``workers_of`` does."""
    match config:
        case InlineConfig():
            return InlineWorkers()
        case ProcessesConfig():
            gpus = visible_gpus() or [None]
            threads = max(1, own_cores() // config.count)
            return Pool([ProcessSlot(gpus[number % len(gpus)], threads) for number in range(config.count)])
        case RayConfig():
            return _ray_pool(config)


def own_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; none where there is none."""
    import torch  # not above: a worker imports this package, and may need no network

    count = torch.cuda.device_count()
    named = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return named[:count] if named else [str(number) for number in range(count)]


def _ray_pool(config: RayConfig) -> Pool:
    try:
        from tasks.execution.ray_executor import RaySlot
    except ImportError as error:
        raise WorkerError("Ray is not installed here; pip install 'cleanplate[ray]'") from error
    return Pool([RaySlot(config, number) for number in range(config.count)])
