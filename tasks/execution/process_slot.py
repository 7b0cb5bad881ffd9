"""A worker that is a process of this machine."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tasks.execution.executor import WorkerDied
from tasks.execution.protocol import Done
from tasks.execution.timed import timed


class ProcessSlot:
    """A pool of one, so that a process that dies takes nobody's work but its own with it.

    Args:
        gpu: The one GPU that the process sees, as CUDA_VISIBLE_DEVICES names it; None: whatever there is.
        threads: Numeric threads of the process, where OMP_NUM_THREADS does not say it.
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
    """A new process takes its GPU and its threads before torch is there.

    It ends with whoever started it, kill -9 included.
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
