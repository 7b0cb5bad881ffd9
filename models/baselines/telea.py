"""Remove objects with OpenCV's Telea inpainting, the classical baseline for every learned remover."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import Mask, RgbImage


@dataclass(frozen=True, slots=True)
class TeleaFill:
    """A RemovalModel that spreads the surroundings into the mask (Telea, 2004)."""

    radius_px: float = 3
    """Radius of the neighbourhood that the method averages for each filled pixel."""

    @property
    def model_hash(self) -> str:
        """Names the method and its radius. There are no weights."""
        return f"telea-{self.radius_px}"

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``. The seeds have no influence."""
        del seeds
        return [
            np.asarray(
                cv2.inpaint(source, mask.astype(np.uint8), self.radius_px, cv2.INPAINT_TELEA), np.uint8
            )
            for source, mask in zip(sources, masks, strict=True)
        ]
