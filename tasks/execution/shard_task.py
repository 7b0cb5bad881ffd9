"""A piece of work that makes one shard: what it is made from names it, so doing it twice is doing it once."""

from collections.abc import Mapping
from typing import Any, Literal

from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from tasks.storage.shards import PictureFormat
from tasks.storage.shards.paths import files_present
from tasks.storage.workspace import Workspace

CODE_VERSION = 2
"""Raise it when the same work would give other bytes than before."""

_BESIDE: tuple[Literal["truth", "refused"], ...] = ("truth", "refused")


class ShardWork(BaseModel):
    """What every shard's work states; each stage adds its own inputs."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(ge=0)
    index: int = Field(ge=0)
    picture_format: PictureFormat = "png"

    @property
    def digest(self) -> str:
        """Names the work by all its inputs and the code's version."""
        return derive_key(type(self).__name__, CODE_VERSION, self.model_dump_json())


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
