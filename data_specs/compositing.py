"""The result of a compositing run: what each stage kept and refused, and what a cycle made of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

CompositingStage = Literal["cut-outs", "plates", "composites"]


class StageResult(BaseModel):
    """One stage of a compositing run."""

    model_config = ConfigDict(frozen=True)

    stage: CompositingStage
    kept: int
    by_split: dict[str, int]
    rejects: dict[str, int]
    """By reason, the most frequent first."""
    ignored: dict[str, int] = {}
    """Files in the sources' folders that are not readable images, by reason."""
    tallies: dict[str, dict[str, int]]
    """Counts of the kept samples: by heading (``shadow class``, ``object area`` …) and value."""


class CompositingResult(BaseModel):
    """The result of a compositing run."""

    model_config = ConfigDict(frozen=True)

    stages: list[StageResult]
    """Cut-outs, plates, composites."""
    shards: int
    pool_items: int
    """Number of composites that also entered the pool."""

    @property
    def composites(self) -> int:
        """Number of composites."""
        return self.stages[-1].kept


class PooledComposites(BaseModel):
    """The composites in a cycle's pool: how they were made, and what the cycle did with them."""

    model_config = ConfigDict(frozen=True)

    made: CompositingResult
    drawn: int
    """Number of the pool's composites that a phase has drawn."""
    grown: int
    """Number of samples of the last dataset version that grew from a composite."""
