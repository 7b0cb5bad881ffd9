"""Use models that compute almost nothing, and count their own time: what is left is the cost around them."""

import time
from collections.abc import Sequence

import numpy as np

from data_specs.arrays import Mask, RgbImage


class NullRemover:
    """Fills the mask with one colour. The seed decides the colour, so that candidates differ."""

    model_hash = "null-remover"

    def __init__(self) -> None:
        self.seconds = 0.0
        """Processor time of its own, in seconds."""

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``."""
        began = time.thread_time()
        removals: list[RgbImage] = []
        for source, mask, seed in zip(sources, masks, seeds, strict=True):
            removal = source.copy()
            removal[mask] = (seed % 251, seed // 251 % 251, seed // 63001 % 251)
            removals.append(removal)
        self.seconds += time.thread_time() - began
        return removals


class NullDiscriminator:
    """Scores a candidate by one pixel of its removal."""

    batch_size = 64

    def __init__(self) -> None:
        self.seconds = 0.0
        """Processor time of its own, in seconds."""

    def score(
        self,
        sources: Sequence[RgbImage],
        masks: Sequence[Mask],
        removals: Sequence[RgbImage],
        proposals: Sequence[str],
    ) -> list[float]:
        """See ``Discriminator.score``."""
        began = time.thread_time()
        scores = [float(np.sum(removal[::64, ::64], dtype=np.int64) % 1000) / 1000 for removal in removals]
        self.seconds += time.thread_time() - began
        return scores
