"""A process's share of a step: which samples are its own, its random numbers, means over all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True, slots=True)
class Share:
    """Every ``of``-th sample of a step's batch, from ``number`` on.

    What is drawn is drawn for the whole batch and then shared out, so that any number of processes sees
    the numbers that one would have seen.
    """

    generator: torch.Generator
    """On the CPU, seeded alike in every process."""
    number: int = 0
    """0 … of − 1."""
    of: int = 1
    """Shares the batch is split into; they are equally large."""
    process_mean: Callable[[Tensor], Tensor] = _alone
    """A tensor's mean over the processes, each at the same place of its own share."""

    @property
    def places(self) -> slice:
        """Where in the batch its samples stand."""
        return slice(self.number, None, self.of)

    def draw(self, count: int, drawn: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """Random numbers for this share's samples.

        Args:
            count: Samples of this share.
            drawn: Draws for so many samples, along the first axis, from the generator given.

        Returns:
            ``count`` along the first axis, on the CPU.
        """
        return drawn(count * self.of, self.generator)[self.places]
