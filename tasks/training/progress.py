"""Show the progress of a training in the terminal and in Prefect."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast
from uuid import UUID

import httpx
import torch
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.training.loop import Progress as StepProgress

_SECONDS_BETWEEN_UPDATES = 5.0
"""Prefect's server is not called more often than this."""
_SECONDS_BETWEEN_LINES = 60.0
"""If standard error is no terminal."""


@contextmanager
def training_progress(what: str) -> Iterator[StepProgress]:
    """A bar with loss, pace and GPU memory, for the callback of ``train``.

    Without a terminal it is a line a minute. Within a run, Prefect shows the percentage too. Only the first
    process of a launcher prints.

    Args:
        what: What is trained, for people.
    """
    within_run = FlowRunContext.get() or TaskRunContext.get()
    artifact = _artifact(what) if within_run else None
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0", soft_wrap=True, markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=None, pace="")
        began = said = updated = time.monotonic()
        first = 0

        def step(done: int, total: int, loss: float) -> None:
            nonlocal began, first, said, updated
            now = time.monotonic()
            if not first:  # a resumed training's pace is that of its own steps
                began, first = now, done
            pace = _pace(done - first, now - began, loss)
            bars.update(bar, completed=done, total=total, pace=pace)
            if not console.is_terminal and (done == total or now - said > _SECONDS_BETWEEN_LINES):
                said = now
                console.print(f"  {what}: step {done:,} of {total:,}: {pace}", highlight=False)
            if artifact and (done == total or now - updated > _SECONDS_BETWEEN_UPDATES):
                updated = now
                with suppress(httpx.TransportError):  # a lost server must not end a training of days
                    update_progress_artifact(artifact, 100.0 * done / total)

        yield step


def _artifact(what: str) -> UUID:
    key = re.sub("[^a-z0-9]+", "-", what.lower())
    return cast(UUID, create_progress_artifact(0.0, key=key, description=what))


def _pace(steps: int, seconds: float, loss: float) -> str:
    """Loss, steps a second, and the most memory that this process has held on its GPU."""
    parts = [f"loss {loss:.4f}"]
    if steps:
        parts.append(f"{steps / seconds:.2f} steps/s")
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory")
    return ", ".join(parts)
