"""cv2's Telea fill: the classical baseline every learned remover should be held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import Mask, RgbImage


@dataclass(frozen=True, slots=True)
class TeleaFill:
    """A RemovalModel that spreads the surroundings into the mask (Telea, 2004)."""

    radius_px: float = 3
    """Neighbourhood that each filled pixel averages."""

    @property
    def model_hash(self) -> str:
        """Its name and radius; there are no weights."""
        return f"telea-{self.radius_px}"

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``; the seeds change nothing."""
        del seeds
        return [
            np.asarray(
                cv2.inpaint(source, mask.astype(np.uint8), self.radius_px, cv2.INPAINT_TELEA), np.uint8
            )
            for source, mask in zip(sources, masks, strict=True)
        ]
