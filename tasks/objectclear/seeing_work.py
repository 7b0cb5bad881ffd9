"""A shard's work that perception may be needed for: named by what the models are, not by where they lie."""

from abc import abstractmethod

from pydantic import Field

from data_specs.keys import derive_key
from tasks.execution.shard_task import CODE_VERSION, ShardWork
from tasks.objectclear.flat_ground import FlatGroundConfig
from tasks.objectclear.perception import PerceptionConfig


class SeeingWork(ShardWork):
    """What cutting out pairs and finding plates have in common."""

    files_digest: str = ""
    """Of the source's files: other pictures under the same names are other work."""
    first: int = Field(default=0, ge=0)
    flatness: FlatGroundConfig
    perception: PerceptionConfig

    @property
    @abstractmethod
    def sees(self) -> bool:
        """Whether perception is asked at all: a studio that tells what it knows needs none."""

    @property
    def digest(self) -> str:
        """Names the work by all its inputs; other weights in the same folder are other work."""
        models = self.perception.fingerprint if self.sees else ""
        stated = self.model_dump_json(exclude={"perception"})
        return derive_key(type(self).__name__, CODE_VERSION, stated, models)
