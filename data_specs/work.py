"""What a piece of work is made of: a shard's inputs, a remover, a discriminator."""

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from models.rorem.remover import SamplingConfig
from tasks.storage.shards import ImageFormat


class RemoverRef(BaseModel):
    """A remover by name and place; weights do not travel between tasks."""

    model_config = ConfigDict(frozen=True)

    hash: str
    """Of weights and sampling."""
    folder: str
    """Relative to the workspace; absolute for the shipped base."""
    sampling: SamplingConfig


CODE_VERSION = 2
"""Raise it when the same work would give other bytes than before."""


class ShardWork(BaseModel):
    """What every shard's work states; each stage adds its own inputs."""

    model_config = ConfigDict(frozen=True)

    round: int = Field(ge=0)
    index: int = Field(ge=0)
    image_format: ImageFormat = "png"

    @property
    def digest(self) -> str:
        """Names the work by all its inputs and the code's version."""
        return derive_key(type(self).__name__, CODE_VERSION, self.model_dump_json())
