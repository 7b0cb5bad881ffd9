"""The inputs of the work that makes one shard."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.shard import ImageFormat


def beside(digest: str, what: Literal["truth", "refused"]) -> str:
    """The name of the shard that a work writes beside its own."""
    return derive_key(digest, what)


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
