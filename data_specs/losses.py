"""The losses of a training, thinned. A ledger keeps a few hundred numbers of each, however long it ran."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

POINTS = 200
"""Means that are kept of a training."""


class TrainingLosses(BaseModel):
    """Means of the loss over equal stretches of a training."""

    model_config = ConfigDict(frozen=True)

    stretch: int = Field(default=1, ge=1)
    """Steps of each stretch. The last one may be shorter."""
    means: tuple[float, ...] = ()
    """The mean loss of each stretch, at most `POINTS` of them. Empty if nothing was trained."""

    @classmethod
    def of(cls, losses: Sequence[float]) -> Self:
        """The losses of all steps, thinned."""
        stretch = max(1, -(-len(losses) // POINTS))
        parts = [losses[start : start + stretch] for start in range(0, len(losses), stretch)]
        return cls(stretch=stretch, means=tuple(sum(part) / len(part) for part in parts))

    @property
    def steps(self) -> list[int]:
        """The first step of each stretch, from 1."""
        return [1 + self.stretch * place for place in range(len(self.means))]
