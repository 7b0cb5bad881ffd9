"""Run a training in several processes of this machine, with torch's launcher."""

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from data_specs import errors
from data_specs.errors import CleanplateError, ModelError
from models.training.distributed import is_first_process
from models.training.loop import Progress

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Those that torch's launcher handles."""
_SECONDS_BETWEEN_REPORTS = 0.5


def launches(processes: int) -> bool:
    """Whether a training in so many processes must start them. It must not where a launcher has done so."""
    return processes > 1 and "LOCAL_RANK" not in os.environ


def launch(processes: int, train: Callable[[Progress], object], progress: Progress | None) -> None:
    """Call ``train`` in so many new processes, which train together: gloo on CPUs, NCCL on GPUs.

    Args:
        processes: How many.
        train: Gets a progress callback. It must be picklable: a module's function, or a partial of one.
        progress: Called in this process, with what the first of the new ones reports.

    Raises:
        CleanplateError: The error that a process ended with. The other processes are ended.
        RuntimeError: If a process ended with another error, or was killed.
    """
    for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # The error that is raised says it all.
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    ours = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    try:
        with forwarded(progress) as reports:
            elastic_launch(config, _in_process)(train, reports)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise _as_raised(failure.message) from error
    except SignalException as received:
        # The launcher has put its handlers in the place of ours, which say what comes next.
        signal.signal(received.sigval, ours[received.sigval])
        signal.raise_signal(received.sigval)


def _in_process(train: Callable[[Progress], object], reports: "SimpleQueue[Any]") -> None:
    """One of the processes."""
    last = 0.0

    def report(done: int, total: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if is_first_process() and (done == total or now - last > _SECONDS_BETWEEN_REPORTS):
            last = now
            reports.put((done, total, loss))

    train(report)


@contextmanager
def forwarded(progress: Progress | None) -> Iterator["SimpleQueue[Any]"]:
    """A queue of reports. A thread gives them to ``progress`` until the context ends."""
    reports = get_context("spawn").SimpleQueue()

    def forward() -> None:
        listener = progress
        while (report := reports.get()) is not None:
            try:
                if listener is not None:
                    listener(*report)
            except Exception:
                # The queue must be read on: a full one would stop the training.
                logging.getLogger(__name__).exception("progress is no longer reported")
                listener = None

    # With Prefect's context: its server and its run are not another thread's by themselves.
    thread = threading.Thread(target=copy_context().run, args=(forward,), daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        reports.put(None)
        thread.join()


def _as_raised(reported: Any) -> Exception:
    """The error of a process, from torch's ``TypeName: sentence``, which may be a part of a dict."""
    message = str(reported["message"] if isinstance(reported, dict) else reported)
    name, _, sentence = message.partition(": ")
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, CleanplateError)):
        return RuntimeError(f"a training process ended with {message}")
    try:
        return kind(sentence)
    except TypeError:  # Some are made of several parts.
        return ModelError(sentence)
