"""Run the work of one shard as a Prefect task. Its inputs name it, so repeating it changes nothing."""

import socket
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar

import httpx
from prefect import Task, task
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from pydantic import BaseModel

from data_specs.errors import StoreLostError, StoreSilentError, WorkerError
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from data_specs.work import beside
from tasks.execution.executor import INLINE, InlineConfig, WorkersConfig
from tasks.execution.local_executors import workers_of
from tasks.storage.object_store import working_folder
from tasks.storage.shards.writer import files_present
from tasks.storage.workspace import LEDGER_VARIABLE, Workspace

_BESIDE: tuple[Literal["truth", "refused"], ...] = ("truth", "refused")


def lost_works(workspace: Workspace, done: Mapping[str, BaseModel]) -> set[str]:
    """The works that Prefect remembers as done, but that the workspace does not have.

    A ledger may be lost, restored from a backup, or be another one. A shard's file may be deleted.

    Args:
        workspace: The workspace of the shards. Its ledger is asked once for all works.
        done: The result of each work's task run, by the work's digest.

    Returns:
        The digests of works that the ledger does not list as finished, or whose shards lack a file.
    """
    ledger = workspace.ledger()
    of_work = {name: digest for digest in done for name in (digest, *(beside(digest, of) for of in _BESIDE))}
    refs = [(of_work[ref.input_digest], ref) for ref in ledger.shards.of_works(list(of_work))]
    refs += [(digest, ref) for digest, result in done.items() for ref in _refs_in(result)]
    gone = {digest for digest, ref in dict.fromkeys(refs) if not files_present(workspace, ref)}
    return gone | (done.keys() - ledger.costs.finished_works(list(done)))


def _refs_in(result: BaseModel) -> list[ShardRef]:
    """The shards in a task run's result. Some results are a shard themselves."""
    found = [result, *(getattr(result, name) for name in type(result).model_fields)]
    return [each for each in found if isinstance(each, ShardRef)]


def _cache_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Prefect's cache key: the work and its workspace. Another workspace has other shards."""
    return derive_key(str(parameters["workspace"].address), parameters["work"].digest)


BY_WORK = CacheKeyFnPolicy(cache_key_fn=_cache_key)
"""Cache policy of shard tasks with the parameters ``workspace`` and ``work``. A new flow run repeats only
unfinished work, and the UI says "Cached". Flows check it against the workspace with ``lost_works``."""


# Retries: a shard's task runs again after a lost network or store, and never after bad data.

_DELAYS_SECONDS = [2, 8, 30, 60]
"""Even with the shortest jitter they bridge 66 s: the time of a database restart or failover."""
_PASSING = (ConnectionError, TimeoutError, httpx.TransportError, StoreLostError, StoreSilentError)
"""Errors that may be gone in half a minute. A full disk is not among them, nor is an unreadable file."""


def is_passing(error: object) -> bool:
    """Whether the same work may succeed a little later."""
    return isinstance(error, _PASSING)


def _try_again(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return is_passing(state.result(raise_on_failure=False))


RETRY_LOST_NETWORK: dict[str, Any] = {
    "retries": len(_DELAYS_SECONDS),
    "retry_delay_seconds": _DELAYS_SECONDS,
    # Many workers that lost one store do not return to it at the same moment.
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _try_again,
}
"""Options of a task that may run again. The ledger knows what it did before."""


# The work of a shard, done by a worker. The ledger records the seconds it took.

Result = TypeVar("Result")


def in_workspace(address: str, ledger: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call the function with the worker's view of the workspace. For a bucket, that is a cache of its own.

    Args:
        address: The address of the workspace.
        ledger: Digest of its ledger's address, as the flow knows it.
        function: Called with the workspace and the arguments.
        arguments: The other arguments of the function.

    Raises:
        InputError: If there is no such workspace here.
        WorkerError: If another ledger is configured here. The work would be lost in it.
    """
    if derive_key(Workspace(working_folder(address)).ledger_url) != ledger:
        raise WorkerError(
            f"{socket.gethostname()}: this worker has another ledger than the flow; start workers and "
            f"Ray with the same {LEDGER_VARIABLE}"
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
    """Let a worker call ``function(workspace, *arguments)``. If the worker dies, another one does it.

    Args:
        workers: The workers.
        workspace: Workers on other machines must see it and its ledger at the same addresses.
        what: The kind of work. Its seconds are counted under this name.
        digest: Names the work. After a kill and a second run, its seconds count once, as first recorded.
        function: Plain and importable. It writes its shard itself; running it twice must be harmless.
        arguments: Small: refs and configs, no images.

    Raises:
        WorkerError: If no worker is available, every one that tried has died, or it has another ledger.
    """
    name, pool = f"{what} {digest}", workers_of(workers)
    if isinstance(workers, InlineConfig):
        done = pool.run(name, function, workspace, *arguments)
    else:
        ledger = derive_key(workspace.ledger_url)
        done = pool.run(name, in_workspace, workspace.address, ledger, function, *arguments)
    workspace.ledger().costs.record(digest, what, done.seconds)
    return done.result


# A plain function as a Prefect task.


class Work(Protocol):
    """What a shard's task is to do."""

    @property
    def digest(self) -> str:
        """The name of the work. Equal inputs have equal names."""
        ...


OneWork = TypeVar("OneWork", bound=Work)


def shard_task(
    function: Callable[[Workspace, OneWork], Result], what: str, name: str, *, cached: bool = True
) -> Task[..., Result]:
    """The function as a task with the parameters ``workspace``, ``work`` and ``workers``.

    Args:
        function: A function of a module, as ``run_shard`` needs it. It stays callable without Prefect.
        what: The kind of work. Its seconds are counted under this name.
        name: The rest of the task run's name, such as ``{work.phase} {work.index}``.
        cached: Whether Prefect remembers the result by the work's digest. If so, the result must be a shard,
            or hold shards.

    Returns:
        The task. It runs in this process unless the call names workers. It tries again after a lost network.
    """

    def run(workspace: Workspace, work: OneWork, workers: WorkersConfig = INLINE) -> Result:
        return run_shard(workers, workspace, what, work.digest, function, work)

    # Prefect tells tasks apart by this name, and shows these words.
    run.__qualname__, run.__doc__ = f"{function.__qualname__}_task", function.__doc__
    as_task = task(
        name=what,
        task_run_name=f"{what} {name}",
        cache_policy=BY_WORK if cached else NO_CACHE,
        persist_result=cached,
        result_serializer="json",
        **RETRY_LOST_NETWORK,
    )
    return as_task(run)
