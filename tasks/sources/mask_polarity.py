"""Find inverted masks by what differs between the image with the object and the image without it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from data_specs.reject import RejectReason
from tasks.sources.image_files import RejectedImage

_LEVELS = 20
"""Levels of 255 by which a pixel differs in one channel. JPEG's noise is below this."""
_CHANGED_OUTSIDE = 0.1
"""Minimum fraction of what an inverted mask leaves out that differs: the object lies there."""
_RATIO = 2


def changed_pixels(source: RgbImage, ground_truth: RgbImage) -> NDArray[np.bool_]:
    """Where two H×W×3 images differ by more than noise, H×W bool."""
    difference = np.abs(source.astype(np.int16) - ground_truth)
    return difference.max(axis=2) > _LEVELS


def is_inverted(source: RgbImage, mask: Mask, ground_truth: RgbImage) -> bool:
    """Whether the mask marks what stays in place of the object.

    It does if three things hold. It covers more than half of the image. A tenth or more of the rest differs
    between the two images. This fraction is at least twice as high as inside the mask.

    Args:
        source: H×W×3 uint8, with the object.
        mask: H×W bool.
        ground_truth: H×W×3 uint8, without the object.
    """
    if mask.mean() <= 0.5 or mask.all():
        return False
    changed = changed_pixels(source, ground_truth)
    inside, outside = float(changed[mask].mean()), float(changed[~mask].mean())
    return outside >= max(_CHANGED_OUTSIDE, _RATIO * inside)


def check_polarity(path: Path, source: RgbImage, mask: Mask, ground_truth: RgbImage) -> None:
    """Refuse an inverted mask.

    Raises:
        RejectedImage: MASK_INVERTED.
    """
    if is_inverted(source, mask, ground_truth):
        detail = f"it marks {mask.mean():.0%} of the image, and the images differ in the rest; turn it "
        detail += "(`ingest rord --turn-masks` does)"
        raise RejectedImage(path, RejectReason.MASK_INVERTED, detail)
