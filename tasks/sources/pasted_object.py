"""Paste an object on a picture: cut out under its mask, reduced, put down, its edge softened."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Alpha, Mask, RgbImage

_EDGE_SIGMA_PX = 0.7
"""Of the blur of a pasted object's edge; a razor-sharp one would give it away."""
_MARGIN_PX = 3
"""Room around the object for that blur."""
_LEAST_ALPHA = 1 / 255
"""What is fainter is left away, so that the mask holds every pixel that changes."""


@dataclass(frozen=True, slots=True, eq=False)
class CutObject:
    """An object cut out of its picture, with a margin of nothing around it."""

    light: NDArray[np.float32]
    """h×w×3, its grey levels times alpha: so no colour of its old ground comes in when it is resized."""
    alpha: Alpha
    """h×w float32, [0, 1]."""


def cut_object(picture: RgbImage, mask: Mask) -> CutObject:
    """Cut what the mask marks, less a pixel all around, where its old background shines through.

    Args:
        picture: H×W×3 uint8.
        mask: H×W bool, not empty.
    """
    wide = np.pad(mask, _MARGIN_PX).astype(np.uint8)
    inner = cv2.erode(wide, np.ones((3, 3), np.uint8))
    kept = inner if inner.any() else wide
    room = (_MARGIN_PX, _MARGIN_PX)
    left, top, width, height = cv2.boundingRect(kept)
    rows = slice(top - _MARGIN_PX, top + height + _MARGIN_PX)
    columns = slice(left - _MARGIN_PX, left + width + _MARGIN_PX)
    alpha = kept[rows, columns].astype(np.float32)
    return CutObject(np.pad(picture, (room, room, (0, 0)))[rows, columns] * alpha[..., None], alpha)


def reduced_object(cut: CutObject, area_px: float) -> CutObject | None:
    """The object with about ``area_px`` pixels; None where it would have to be enlarged."""
    scale = float(np.sqrt(area_px / cut.alpha.sum()))
    if scale > 1:
        return None
    height, width = (max(2 * _MARGIN_PX + 1, round(side * scale)) for side in cut.alpha.shape)
    light, alpha = (
        np.asarray(cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA), np.float32)
        for each in (cut.light, cut.alpha)
    )
    return CutObject(light, alpha)


def paste(ground: RgbImage, cut: CutObject, top: int, left: int) -> tuple[RgbImage, Mask]:
    """Lay the object on the ground.

    Args:
        ground: H×W×3 uint8; outside the mask it stays as it is, to the bit.
        cut: The object, which must lie inside.
        top: Of its upper left corner.
        left: Likewise.

    Returns:
        The picture with it, H×W×3 uint8, and the mask of what it covers, H×W bool.
    """
    height, width = cut.alpha.shape
    box = np.s_[top : top + height, left : left + width]
    light, alpha = (
        cv2.GaussianBlur(each, (0, 0), _EDGE_SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
        for each in (cut.light, cut.alpha)
    )
    picture, mask = ground.copy(), np.zeros(ground.shape[:2], bool)
    mask[box] = alpha >= _LEAST_ALPHA
    blended = np.round(light + (1 - alpha[..., None]) * ground[box]).clip(0, 255).astype(np.uint8)
    picture[box] = np.where(mask[box][..., None], blended, ground[box])
    return picture, mask
