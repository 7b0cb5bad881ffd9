"""Shards' work as task runs: one for each piece, as many at once as there are workers."""

from collections.abc import Sequence
from typing import Any, TypeVar

from prefect import Task
from prefect.task_runners import ThreadPoolTaskRunner

from flows.progress import tracked
from tasks.workers import WorkersConfig
from tasks.workspace import Workspace

Result = TypeVar("Result")


def over_shards(
    task: Task[..., Result], workspace: Workspace, works: Sequence[Any], workers: WorkersConfig, what: str
) -> list[Result]:
    """What the works gave, in their order.

    Args:
        task: Called with a workspace, a work and the workers.
        workspace: Of all.
        works: What each task run is to do.
        workers: Who does it.
        what: For the progress bar.

    Raises:
        Exception: What the first failing run raised; those that had begun are waited for, no other begins.
    """
    if workers.count == 1:
        return [task(workspace, work, workers) for work in tracked(works, what)]
    with ThreadPoolTaskRunner(max_workers=workers.count) as runner:
        futures = [
            runner.submit(task, {"workspace": workspace, "work": work, "workers": workers}) for work in works
        ]
        return [future.result() for future in tracked(futures, what)]
