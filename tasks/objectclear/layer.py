"""A layer: a cut-out in the size, place and tone it has on a plate."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import Effect, Mask, Matte, Region, RgbImage
from data_specs.cutout import Cutout
from tasks.objectclear.foot import foot_of

_FAINT = 2
"""Effects below this (of 255, or levels) are dropped: a resized effect would fade out over many pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """h rows, w columns, to be laid on a plate with its top left corner at (top, left)."""

    top: int
    left: int
    colour: RgbImage
    """h×w×3 uint8, the object's colours times its matte."""
    matte: Matte
    """h×w uint8."""
    darkening: Effect
    """h×w×3 uint8."""
    brightening: Effect
    """h×w×3 uint8."""

    @property
    def window(self) -> tuple[slice, slice]:
        """The layer's box in the plate."""
        height, width = self.matte.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def mask(self) -> Mask:
        """h×w bool: mostly object."""
        return self.matte >= 128

    @property
    def support(self) -> Region:
        """h×w bool: wherever the layer may change what lies under it."""
        effect = cv2.bitwise_or(self.darkening, self.brightening)
        first, second, third = cv2.split(effect)
        return cv2.bitwise_or(cv2.bitwise_or(first, second), cv2.bitwise_or(third, self.matte)) > 0


def scaled_layer(cutout: Cutout, scale: float, foot: tuple[int, int]) -> Layer | None:
    """A cut-out at a scale, its foot on a pixel of the plate.

    Args:
        cutout: The object.
        scale: Its size on the plate over its size when captured, > 0.
        foot: Row and column of the plate.

    Returns:
        The layer, or None where nothing of the object would be left.
    """
    three = cv2.merge([cutout.matte] * 3)
    parts = [
        cv2.multiply(cutout.picture, three, scale=1 / 255),
        cutout.matte,
        cutout.darkening,
        cutout.brightening,
    ]
    if scale != 1:
        height, width = (max(1, round(side * scale)) for side in cutout.matte.shape)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        parts = [cv2.resize(part, (width, height), interpolation=how) for part in parts]
    colour, matte, darkening, brightening = (np.asarray(part, np.uint8) for part in parts)
    if not (matte >= 128).any():
        return None
    row, column = foot_of(matte >= 128)
    return Layer(
        top=foot[0] - row,
        left=foot[1] - column,
        colour=colour,
        matte=matte,
        darkening=_clear_of_faint(darkening),
        brightening=_clear_of_faint(brightening),
    )


def _clear_of_faint(effect: Effect) -> Effect:
    return np.asarray(cv2.threshold(effect, _FAINT - 1, 255, cv2.THRESH_TOZERO)[1], np.uint8)
