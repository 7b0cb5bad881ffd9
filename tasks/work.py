"""A piece of work that makes one shard: what it is made from names it, so doing it twice is doing it once."""

from typing import Any

from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from tasks.shards import PictureFormat

CODE_VERSION = 2
"""Raise it when the same work would give other bytes than before."""


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


def _cache_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Prefect's cache key: the work, in its workspace (another workspace has other shards)."""
    return derive_key(str(parameters["workspace"].address), parameters["work"].digest)


BY_WORK = CacheKeyFnPolicy(cache_key_fn=_cache_key)
"""Cache policy of shard tasks with the parameters ``workspace`` and ``work``: a new flow run redoes only
what is unfinished, and the UI says "Cached"."""
