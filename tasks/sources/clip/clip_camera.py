"""Did the camera move? Phase correlation of a frame with a reference."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage

_LONG_SIDE_PX = 320
"""Enough for a tenth of a pixel, small enough to cost a millisecond or two."""


@dataclass(frozen=True, slots=True)
class CameraShift:
    """How far a frame lies from the reference."""

    right: float
    """In pixels of the frame."""
    down: float
    """Likewise."""
    response: float
    """Share of the correlation's energy at its peak, 0..1; low when the pictures have little in common."""

    @property
    def pixels(self) -> float:
        """How far, whichever way."""
        return float(np.hypot(self.right, self.down))


def camera_shift(picture: RgbImage, reference: RgbImage) -> CameraShift:
    """Measure the shift between two H×W×3 uint8 pictures of one size."""
    scale = max(picture.shape[:2]) / _LONG_SIDE_PX
    first, second = _edges(reference, scale), _edges(picture, scale)
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(first, second, window)
    return CameraShift(right=right * scale, down=down * scale, response=float(response))


def _edges(picture: RgbImage, scale: float) -> NDArray[np.float32]:
    """h×w float32: the picture without its slow shading, so that a change of light is no shift."""
    height, width = picture.shape[:2]
    size = (max(16, round(width / scale)), max(16, round(height / scale)))
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 4)
