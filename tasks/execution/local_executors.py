"""Get the workers of a config: one set for each process and config, started on first use."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Lock
from typing import Any

from data_specs.errors import WorkerError
from tasks.execution.executor import (
    Done,
    InlineConfig,
    Pool,
    ProcessesConfig,
    RayConfig,
    WorkerDied,
    Workers,
    WorkersConfig,
    timed,
)

# The flow's own process as the only worker.


class InlineWorkers:
    """Calls the function directly."""

    def run(self, name: str, function: Callable[..., Any], *arguments: Any) -> Done:
        """See ``Workers.run``."""
        return timed(function, arguments)


# A worker that is a process of this machine.


class ProcessSlot:
    """A pool of one process. A process that dies then takes only its own work with it.

    Args:
        gpu: The one GPU that the process sees, as CUDA_VISIBLE_DEVICES names it. None: all there are.
        threads: Numeric threads of the process, unless OMP_NUM_THREADS is set.
    """

    def __init__(self, gpu: str | None, threads: int) -> None:
        self._gpu = gpu
        self._threads = threads
        self._process: ProcessPoolExecutor | None = None

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
        """See ``Slot.call``."""
        if self._process is None:
            # Spawned, not forked: the flow's process has threads, and perhaps a GPU.
            self._process = ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._gpu, self._threads),
            )
        try:
            return self._process.submit(timed, function, arguments).result()
        except BrokenProcessPool as broken:
            self.close()
            raise WorkerDied("its process ended in the middle of it") from broken

    def close(self) -> None:
        """See ``Slot.close``."""
        if self._process is not None:
            self._process.shutdown(cancel_futures=True)
            self._process = None


def _begin(gpu: str | None, threads: int) -> None:
    """Give a new process its GPU and its threads before torch is imported.

    The process ends with its parent, also after kill -9.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is somebody's child"
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


_open: dict[WorkersConfig, Workers] = {}
_opening = Lock()


def workers_of(config: WorkersConfig) -> Workers:
    """The workers of a config. A second call returns the same workers, with everything they have loaded.

    Raises:
        WorkerError: If Ray is wanted and not installed.
    """
    with _opening:
        if config not in _open:
            _open[config] = open_workers(config)
        return _open[config]


def open_workers(config: WorkersConfig) -> Workers:
    """Workers of the caller's own. Raises the same as ``workers_of``."""
    match config:
        case InlineConfig():
            return InlineWorkers()
        case ProcessesConfig():
            gpus = visible_gpus() or [None]
            threads = max(1, own_cores() // config.count)
            return Pool([ProcessSlot(gpus[number % len(gpus)], threads) for number in range(config.count)])
        case RayConfig():
            return _ray_pool(config)


def kill_workers() -> None:
    """Kill the worker processes of this process in the middle of their work, and start no other.

    For a program that is told to end: Python waits for them at its end, and a shard may take half a minute.
    """
    for workers in list(_open.values()):
        if isinstance(workers, Pool):
            workers.start_no_more()
    for child in multiprocessing.active_children():
        child.kill()


def own_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Empty if there are none."""
    import torch  # Not above: a worker imports this package and may need no network.

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def _ray_pool(config: RayConfig) -> Pool:
    try:
        from tasks.execution.ray_executor import RaySlot
    except ImportError as error:
        raise WorkerError("Ray is not installed here; pip install 'cleanplate[ray]'") from error
    return Pool([RaySlot(config, number) for number in range(config.count)])
