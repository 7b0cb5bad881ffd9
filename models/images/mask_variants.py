"""Make mask variants: one image gives several candidates, each from the mask widened in another way.

RORem dilates the mask before removal (papers.md, fact 8). A skirt to one side covers where a shadow would
fall. The candidate is stored with the TIGHT mask. Accepted candidates therefore teach the remover to remove
the effect without being told where it is.
"""

from typing import Literal

import cv2
import numpy as np

from data_specs.arrays import Mask

MaskVariant = Literal["tight", "dilated", "left", "right"]
_DILATION_FRACTION = 20 / 512
"""RORem's default: a square of 20 px at 512, so 10 px on each side."""
_FULL_PX = 256
"""Smaller masks are those of the tiny networks. Theirs grow twice as far, to 2 px at 64 (decision 0098)."""


def widen(mask: Mask, variant: MaskVariant) -> Mask:
    """The mask that the remover gets for a variant.

    Args:
        mask: H×W bool, tight.
        variant: ``tight``: unchanged. ``dilated``: by RORem's fraction of the side. ``left``, ``right``:
            dilated, with a skirt around the foot that reaches to that side about as far as the object is
            tall.

    Returns:
        H×W bool that contains ``mask``.
    """
    if variant == "tight":
        return mask
    wide = _dilated_by_fraction(mask)
    if variant != "dilated" and mask.any():
        _draw_side(wide, mask, variant)
    return wide > 0


def dilated(mask: Mask, radius: int) -> Mask:
    """The mask with all pixels within a radius in pixels, H×W bool."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def _dilated_by_fraction(mask: Mask) -> np.ndarray:
    """RORem's dilation, H×W uint8, 0 or 1."""
    if min(mask.shape) < _FULL_PX:
        return dilated(mask, max(1, round(_DILATION_FRACTION * mask.shape[0]))).astype(np.uint8)
    side = round(_DILATION_FRACTION * min(mask.shape))
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8))


def _draw_side(wide: np.ndarray, mask: Mask, variant: MaskVariant) -> None:
    """Fill the ellipse on the ground where a shadow would lie.

    Its size covers nine tenths of the shadow for 87 % of the synthetic objects (docs/experiments/demo.md).
    """
    rows, columns = np.nonzero(mask)
    tall, broad = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    girth = (tall + broad) / 2
    foot = int(rows.max()) - tall // 10
    centre = int(columns.mean())
    reach = int(1.2 * girth)
    sign = -1 if variant == "left" else 1
    middle = (centre + sign * reach // 2, foot)
    axes = (reach // 2 + broad // 2 + 1, max(3, int(0.65 * girth)))
    cv2.ellipse(wide, middle, axes, 0, 0, 360, 1, thickness=-1)
