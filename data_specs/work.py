"""The inputs of a piece of work: a shard, a remover, a discriminator."""

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from models.rorem.remover import SamplingConfig
from tasks.storage.shards import ImageFormat


class RemoverRef(BaseModel):
    """A remover by name and folder. Tasks do not exchange weights."""

    model_config = ConfigDict(frozen=True)

    hash: str
    """Hash of weights and sampling."""
    folder: str
    """Relative to the workspace. Absolute for the shipped base."""
    sampling: SamplingConfig


CODE_VERSION = 2
"""Raise it when the same work would give other bytes than before."""


class ShardWork(BaseModel):
    """What every shard's work holds. Each stage adds its own inputs."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(ge=0)
    index: int = Field(ge=0)
    image_format: ImageFormat = "png"

    @property
    def digest(self) -> str:
        """Names the work by all its inputs and the code's version."""
        return derive_key(type(self).__name__, CODE_VERSION, self.model_dump_json())
