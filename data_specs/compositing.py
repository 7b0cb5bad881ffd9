"""What a compositing run reports: how much each stage kept and refused, and what it is like."""

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
