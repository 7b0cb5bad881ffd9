"""Square cuts: where they lie, and how they become samples of one size."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import Mask, RgbImage

_COVERED = 0.25
"""A reduced pixel is masked when the mask covers this much of it: a missed rim is worse than a wide one."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square inside a picture, in pixels."""

    left: int
    top: int
    side: int

    def of(self, picture: np.ndarray) -> np.ndarray:
        """The part of an H×W or H×W×C array that the square covers."""
        return picture[self.top : self.top + self.side, self.left : self.left + self.side]


def cut_picture(picture: RgbImage, square: Square, size_px: int) -> RgbImage:
    """Cut and resize to ``size_px``×``size_px``×3 uint8: by area when smaller, by cubic when larger."""
    how = cv2.INTER_AREA if square.side >= size_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square.of(picture), (size_px, size_px), interpolation=how), np.uint8)


def cut_mask(mask: Mask, square: Square, size_px: int) -> Mask:
    """Cut and resize to ``size_px``×``size_px`` bool."""
    part = square.of(mask).astype(np.float32)
    how = cv2.INTER_AREA if square.side >= size_px else cv2.INTER_LINEAR
    return cv2.resize(part, (size_px, size_px), interpolation=how) > _COVERED


def square_about(mask: Mask) -> Square:
    """The largest square of the picture that lies about the mask's middle (the whole short side)."""
    height, width = mask.shape
    side = min(height, width)
    left, top, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
    return Square(
        left=min(max(left + box_width // 2 - side // 2, 0), width - side),
        top=min(max(top + box_height // 2 - side // 2, 0), height - side),
        side=side,
    )
