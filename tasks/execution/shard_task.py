"""A piece of work that makes one shard: what it is made from names it, so doing it twice is doing it once."""

import socket
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import httpx
from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from pydantic import BaseModel

from data_specs.errors import StoreLostError, StoreSilentError, WorkerError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from tasks.execution.executor import InlineConfig, WorkersConfig
from tasks.execution.local_executors import workers_of
from tasks.storage.object_store import working_folder
from tasks.storage.shards.writer import files_present
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace

_BESIDE: tuple[Literal["truth", "refused"], ...] = ("truth", "refused")


def beside(digest: str, what: Literal["truth", "refused"]) -> str:
    """Names the shard that a work writes beside its own."""
    return derive_key(digest, what)


def lost_works(workspace: Workspace, done: Mapping[str, BaseModel]) -> set[str]:
    """Which works Prefect remembers as done and the workspace does not have.

    A ledger may be lost, brought back from a backup, or another one; a shard's file may be deleted.

    Args:
        workspace: Where the shards should be. The ledger is asked once for all, not once for each.
        done: What each work's task run gave, by the work's digest.

    Returns:
        The digests of those that the ledger does not call finished, or of whose shards a file is missing.
    """
    ledger = workspace.ledger()
    of_work = {name: digest for digest in done for name in (digest, *(beside(digest, of) for of in _BESIDE))}
    refs = [(of_work[ref.input_digest], ref) for ref in ledger.shards_of_works(list(of_work))]
    refs += [(digest, ref) for digest, result in done.items() for ref in _refs_in(result)]
    gone = {digest for digest, ref in dict.fromkeys(refs) if not files_present(workspace, ref)}
    return gone | (done.keys() - ledger.finished_works(list(done)))


def _refs_in(result: BaseModel) -> list[ShardRef]:
    """The shards that a task run's result names; some results are one."""
    found = [result, *(getattr(result, name) for name in type(result).model_fields)]
    return [each for each in found if isinstance(each, ShardRef)]


def _cache_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Prefect's cache key: the work, in its workspace (another workspace has other shards)."""
    return derive_key(str(parameters["workspace"].address), parameters["work"].digest)


BY_WORK = CacheKeyFnPolicy(cache_key_fn=_cache_key)
"""Cache policy of shard tasks with the parameters ``workspace`` and ``work``: a new flow run redoes only
what is unfinished, and the UI says "Cached". Flows hold it against the workspace by ``lost_works``."""


# Retries: a shard's task is tried again when the network or a store was lost, and never for bad data.

_DELAYS_SECONDS = [2, 8, 30, 60]
"""With the shortest jitter they bridge 66 s: a database that is started again, or fails over."""
_PASSING = (ConnectionError, TimeoutError, httpx.TransportError, StoreLostError, StoreSilentError)
"""What may be otherwise in half a minute. A full disk is none of these, nor is a file that cannot be read."""


def is_passing(error: object) -> bool:
    """Whether the same work may succeed a little later."""
    return isinstance(error, _PASSING)


def _try_again(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return is_passing(state.result(raise_on_failure=False))


RETRY_LOST_NETWORK: dict[str, Any] = {
    "retries": len(_DELAYS_SECONDS),
    "retry_delay_seconds": _DELAYS_SECONDS,
    # Many workers that lost one store do not come back to it all at once.
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _try_again,
}
"""Settings of a task that may be tried again; what it did before is found in the ledger."""


# A shard's work, done by a worker, with a note in the ledger of the seconds it took.

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


def run_shard(
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
        arguments: Small: refs and configs, no images.

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
