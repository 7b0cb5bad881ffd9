"""A shard's work, done by a worker, with a note in the ledger of the seconds it took."""

import socket
from collections.abc import Callable
from typing import Any, TypeVar

from data_specs.errors import WorkerError
from data_specs.keys import derive_key
from tasks.execution.config import InlineConfig, WorkersConfig
from tasks.execution.local_executors import workers_of
from tasks.storage.object_store import working_folder
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace

Result = TypeVar("Result")


def in_workspace(address: str, ledger: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls the function as the worker sees the workspace: in a cache of its own, where a bucket keeps it.

    Args:
        address: Of the workspace.
        ledger: Digest of its ledger's address, as the flow knows it.
        function: Called with the workspace and the arguments.
        arguments: The function's others.

    Raises:
        InputError: When there is no such workspace here.
        WorkerError: When another ledger is named here, in which the work would be lost.
    """
    if derive_key(Workspace(working_folder(address)).ledger_url) != ledger:
        raise WorkerError(
            f"{socket.gethostname()}: this worker's ledger is not the flow's; start workers (ray start, too) "
            f"with the same {LEDGER_VARIABLE}"
        )
    return function(Workspace.existing(address), *arguments)


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
        workspace: Where; workers on other machines must see it and its ledger at the same addresses.
        what: The kind of work, under which its seconds are counted.
        digest: Names the work: done again after a kill, its seconds count once, as they were first noted.
        function: Plain, importable, harmless when done twice; writes its shard itself.
        arguments: Small: refs and configs, no pictures.

    Raises:
        WorkerError: When no worker can be had, each one that tried has died, or it has another ledger.
    """
    name, pool = f"{what} {digest}", workers_of(workers)
    if isinstance(workers, InlineConfig):
        done = pool.run(name, function, workspace, *arguments)
    else:
        ledger = derive_key(workspace.ledger_url)
        done = pool.run(name, in_workspace, workspace.address, ledger, function, *arguments)
    workspace.ledger().record_spending(digest, what, done.seconds)
    return done.result
