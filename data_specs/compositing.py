"""What a compositing run reports: how much each stage kept and refused, and what became of it in a cycle."""

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
    """By reason, most first."""
    ignored: dict[str, int] = {}
    """Files below the sources' folders that are no image to read, by reason."""
    tallies: dict[str, dict[str, int]]
    """Of the kept samples: by heading (``shadow class``, ``object area`` …) and value."""


class CompositingResult(BaseModel):
    """A compositing run."""

    model_config = ConfigDict(frozen=True)

    stages: list[StageResult]
    """Cut-outs, plates, composites."""
    shards: int
    pool_items: int
    """Composites that also entered the pool."""

    @property
    def composites(self) -> int:
        """How many were made."""
        return self.stages[-1].kept


class PooledComposites(BaseModel):
    """The composites in a cycle's pool: how they were made, and what became of them there."""

    model_config = ConfigDict(frozen=True)

    made: CompositingResult
    drawn: int
    """Of the pool's composites, how many a phase has drawn."""
    grown: int
    """Samples of the last dataset version that grew from one."""
