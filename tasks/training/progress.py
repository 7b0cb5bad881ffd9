"""Show the progress of a training in the terminal and in Prefect."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.training.loop import Progress as StepProgress

_SECONDS_BETWEEN_UPDATES = 5.0
"""Prefect's server is not called more often than this."""


@contextmanager
def training_progress(what: str) -> Iterator[StepProgress]:
    """A bar for the callback of ``train``. To be used inside a task run.

    Args:
        what: What is trained, for people, in lower case letters and digits.
    """
    artifact = cast(UUID, create_progress_artifact(0.0, key=what.replace(" ", "-"), description=what))
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=None, loss=0.0)
        told = time.monotonic()

        def step(done: int, total: int, loss: float) -> None:
            nonlocal told
            bars.update(bar, completed=done, total=total, loss=loss)
            if done == total or time.monotonic() - told > _SECONDS_BETWEEN_UPDATES:
                told = time.monotonic()
                update_progress_artifact(artifact, 100.0 * done / total)

        yield step
