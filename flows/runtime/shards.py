"""Shards' work as task runs: one for each piece, as many at once as there are workers."""

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from prefect import Task
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console
from rich.progress import track
from rich.text import Text

from data_specs.plain_text import visible
from flows.runtime.timely_end import when_told
from tasks.execution import INLINE, WorkersConfig
from tasks.execution.local_executors import kill_workers
from tasks.execution.shard_task import BY_WORK, lost_works
from tasks.storage.workspace import Workspace

# Progress of a flow, on standard error so that ``--json`` stays clean, and in Prefect's log of the run.

Item = TypeVar("Item")
# A launcher numbers the processes of a training. The first one speaks for all.
_console = Console(stderr=True, highlight=False, markup=False, quiet=os.environ.get("RANK", "0") != "0")


def say(sentence: str) -> None:
    """One line about what begins or what came out; within a run, Prefect keeps it too."""
    _console.print(Text(visible(sentence)))
    if FlowRunContext.get() or TaskRunContext.get():
        get_run_logger().info(sentence)


def tracked(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, with a bar that goes when they are done."""
    silent = not _console.is_terminal
    return track(items, description=f"  {what}", console=_console, transient=True, disable=silent)


Result = TypeVar("Result")


def map_shards(
    task: Task[..., Result],
    workspace: Workspace,
    works: Sequence[Any],
    workers: WorkersConfig | None,
    what: str,
) -> list[Result]:
    """What the works gave, in their order; what Prefect remembers and the workspace lost is done again.

    Args:
        task: Called with a workspace, a work and the workers.
        workspace: Of all.
        works: What each task run is to do.
        workers: Who does it; None: this process, for work that is not worth a worker.
        what: For the progress bar.

    Raises:
        Exception: What the first failing run raised; those that had begun are waited for, no other begins.
    """
    workers = workers or INLINE
    results = _run_all(task, workspace, works, workers, what)
    if task.cache_policy is not BY_WORK:
        return results
    done: dict[str, Any] = {work.digest: result for work, result in zip(works, results, strict=True)}
    lost = lost_works(workspace, done)
    if lost:
        say_lost(lost)
        again = [work for work in works if work.digest in lost]
        redone = _run_all(anew(task), workspace, again, workers, what)
        done.update(zip((work.digest for work in again), redone, strict=True))
    return [done[work.digest] for work in works]


def anew(task: Task[..., Result]) -> Task[..., Result]:
    """The task, that does its work although Prefect remembers it as done."""
    return task.with_options(refresh_cache=True)


def say_lost(lost: Collection[str]) -> None:
    """Tell people why work that was done is done again."""
    say(f"{len(lost)} earlier shards are missing in the workspace; they are made again")


def _run_all(
    task: Task[..., Result],
    workspace: Workspace,
    works: Sequence[Any],
    workers: WorkersConfig,
    what: str,
) -> list[Result]:
    if workers.count == 1:
        return [task(workspace, work, workers) for work in tracked(works, what)]
    when_told(kill_workers)
    with ThreadPoolTaskRunner(max_workers=workers.count) as runner:
        futures = [
            runner.submit(task, {"workspace": workspace, "work": work, "workers": workers}) for work in works
        ]
        return [future.result() for future in tracked(futures, what)]
