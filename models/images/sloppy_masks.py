"""Make masks as people draw them: too large, too small, beside the object, or of a part of it.

Lengths are in pixels of the image that is given; the tiny images are 64 px. A mask that is not empty
never becomes empty.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask

_DILATION_PX, _SHIFT_PX, _EROSION_PX = 3, 2, 2


def exact(mask: Mask) -> Mask:
    """The mask itself."""
    return mask


def dilated(mask: Mask) -> Mask:
    """Every pixel whose centre is at most 3 px from the centre of a pixel of the mask."""
    return _distance_inside(~mask) <= _DILATION_PX


def boxed(mask: Mask) -> Mask:
    """The bounding box of the mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def shifted(mask: Mask) -> Mask:
    """The mask moved 2 px to the right. What leaves the image is lost. If all of it does, it stays."""
    moved = np.zeros_like(mask)
    moved[:, _SHIFT_PX:] = mask[:, :-_SHIFT_PX]
    return moved if moved.any() else mask


def eroded(mask: Mask) -> Mask:
    """The pixels more than 2 px from every pixel outside the mask. If there are none, the deepest ones.

    The image's border counts as inside: an object that it cuts is not eroded there.
    """
    depth = _distance_inside(mask)
    inner = depth > _EROSION_PX
    return inner if inner.any() else depth == depth.max()


def right_half(mask: Mask) -> Mask:
    """The mask from the middle column of its bounding box on."""
    columns = np.flatnonzero(mask.any(axis=0))
    half = mask.copy()
    half[:, : (columns[0] + columns[-1] + 1) // 2] = False
    return half


SLOPPY_MASKS: dict[str, Callable[[Mask], Mask]] = {
    "exact": exact,
    "dilated 3 px": dilated,
    "bounding box": boxed,
    "shifted 2 px": shifted,
    "eroded 2 px": eroded,
    "right half": right_half,
}
"""H×W bool → H×W bool, by the name that the tables show."""


def _distance_inside(region: Mask) -> NDArray[np.float32]:
    """H×W float32: the distance of every pixel to the nearest one outside the region, in pixels."""
    distance = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
