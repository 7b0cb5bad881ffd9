"""Letterbox: a picture of any size in a network's square, and boxes back from there."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import RgbImage
from data_specs.detection import Box


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """A picture scaled into the upper left of a square, what is left over filled with one colour."""

    square: RgbImage
    """S×S×3 uint8."""
    across: float
    """Pixels of the square a pixel of the picture, along rows; ``down`` along columns."""
    down: float
    height: int
    """Of the picture."""
    width: int

    def box_in_picture(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """A box of the square in the picture's pixels, cut at its edges; None if nothing is left."""
        box = Box(
            left=min(max(left / self.across, 0.0), self.width),
            top=min(max(top / self.down, 0.0), self.height),
            right=min(max(right / self.across, 0.0), self.width),
            bottom=min(max(bottom / self.down, 0.0), self.height),
        )
        return box if box.right > box.left and box.bottom > box.top else None


def letterbox(source: RgbImage, side_px: int, fill: tuple[int, int, int]) -> Letterbox:
    """Scale H×W×3 uint8 so that its longer side is ``side_px``; a thin picture keeps one pixel."""
    height, width = source.shape[:2]
    scale = side_px / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((side_px, side_px, 3), fill, np.uint8)
    square[:new_height, :new_width] = cv2.resize(source, (new_width, new_height), interpolation=how)
    return Letterbox(square, new_width / width, new_height / height, height, width)
