"""A shard's work, done by a worker, with a note in the ledger of the seconds it took."""

from collections.abc import Callable
from typing import Any, TypeVar

from tasks.workers.config import WorkersConfig
from tasks.workers.registry import workers_of
from tasks.workspace import Workspace

Result = TypeVar("Result")


def do_shard(
    workers: WorkersConfig,
    workspace: Workspace,
    what: str,
    digest: str,
    function: Callable[..., Result],
    *arguments: Any,
) -> Result:
    """Has a worker call ``function(workspace, *arguments)``; if the worker dies, another one does.

    Args:
        workers: Who.
        workspace: Where; workers on other machines must see it at the same place.
        what: The kind of work, under which its seconds are counted.
        digest: Names the work: done again after a kill, its seconds count once, as they were first noted.
        function: Plain, importable, harmless when done twice; writes its shard itself.
        arguments: Small: refs and configs, no pictures.

    Raises:
        WorkerError: When no worker can be had, or each one that tried has died.
    """
    done = workers_of(workers).run(f"{what} {digest}", function, workspace, *arguments)
    workspace.ledger().record_spending(digest, what, done.seconds)
    return done.result
