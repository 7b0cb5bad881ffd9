"""Handle images of any size: choose the window that a network sees, and apply its change at full resolution.

A network works at a fixed short side (512 px for SDXL and its relatives) with sides that are multiples of 16
(papers.md, fact 20). It sees only the object's neighbourhood. A small object in a 4,000 px photo is therefore
more than a few pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_specs.arrays import Alpha, Mask, RgbImage
from models.images.fusion import Change, add_change
from models.images.mask_variants import dilated

SIDE_MULTIPLE_PX = 16
"""Work sides are multiples of this (fact 20)."""
_CONTEXT = 2.5
"""Side of the neighbourhood divided by the longer side of the object's box. NOT PUBLISHED."""
_MAX_WORK_AREA = 4
"""In squares of the short side. Longer windows are reduced further, so that memory is bounded."""
_SEAM_WORK_PX = 2
"""The object's own detail extends this far beyond its mask, because edges in photos are soft."""


@dataclass(frozen=True, slots=True)
class WorkWindow:
    """A part of an image, and the size at which a network sees it."""

    top: int
    left: int
    height: int
    """Rows of the part, in pixels of the image."""
    width: int
    work_height: int
    """Rows that the network sees, a multiple of 16."""
    work_width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the part."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def is_identity(self) -> bool:
        """Whether the network sees the part without resizing."""
        return (self.height, self.width) == (self.work_height, self.work_width)


def choose_window(mask: Mask, short_side_px: int) -> WorkWindow:
    """Choose the object's neighbourhood, at the network's short side.

    It is a square around the mask's box, 2.5 times its longer side and at least ``short_side_px``. It is
    moved and cut to lie inside the image. If the image is small or the object is large, it is the whole
    image.

    Args:
        mask: H×W bool, not empty.
        short_side_px: The network's short side.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = max(short_side_px, round(_CONTEXT * longer))
    # An image that is hardly larger than the neighbourhood is shown whole, as in training.
    tall, broad = (length if length <= 1.25 * side else side for length in (height, width))
    return WorkWindow(
        top=_start((rows[0] + rows[-1] + 1) / 2, tall, height),
        left=_start((columns[0] + columns[-1] + 1) / 2, broad, width),
        height=tall,
        width=broad,
        **_work_size(tall, broad, short_side_px),
    )


def whole_image(height: int, width: int, work_height: int, work_width: int) -> WorkWindow:
    """A window that shows all of a height × width image at a given work size."""
    return WorkWindow(0, 0, height, width, work_height, work_width)


def show_image(image: RgbImage, window: WorkWindow) -> RgbImage:
    """The part of an image that the window shows, at work size: h×w×3 uint8."""
    shown = _resized(image[window.box], window.work_height, window.work_width, cv2.INTER_CUBIC)
    return np.asarray(shown, np.uint8)


def show_mask(mask: Mask, window: WorkWindow) -> Mask:
    """The mask at work size, h×w bool. A work pixel is masked if any of its source pixels is masked."""
    part = mask[window.box].astype(np.float32)
    return _resized(part, window.work_height, window.work_width, cv2.INTER_NEAREST_EXACT) > 0


def bring_back(source: RgbImage, mask: Mask, change: Change, window: WorkWindow) -> RgbImage:
    """Apply a change found at work size to the whole image.

    The change is resized and added. The image therefore keeps its own detail where a shadow or a colour cast
    goes. At the mask (softly, 2 work pixels beyond it) the work-size image first replaces the source. The
    detail there belongs to the object and must go as well.

    Args:
        source: H×W×3 uint8, the whole image.
        mask: H×W bool, the object.
        change: h×w×3 float32 grey levels at work size.
        window: The window that the network saw.

    Returns:
        H×W×3 uint8. Exactly the source wherever the resized change is 0.
    """
    removal = source.copy()
    part = source[window.box]
    if window.is_identity:
        removal[window.box] = add_change(part, change)
        return removal
    returned = _returned(change, window)
    seen = _returned(show_image(source, window), window)
    fraction = _detail_that_goes(show_mask(mask, window), window)
    fraction *= (returned != 0).any(axis=2)
    returned += fraction[..., None] * (seen - part)
    removal[window.box] = add_change(part, returned)
    return removal


def spread_map(values: Alpha, window: WorkWindow, whole: Alpha) -> None:
    """Write a map of the window's part, of any resolution, into a map of the whole image, in place.

    Args:
        values: h×w float32.
        window: The part.
        whole: H×W float32.
    """
    size = (window.width, window.height)
    whole[window.box] = np.clip(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), 0, 1)


def _start(centre: float, length: int, whole: int) -> int:
    """Start of an interval around a centre, moved to lie inside 0..whole."""
    return min(max(0, round(centre - length / 2)), whole - length)


def _work_size(height: int, width: int, short_side_px: int) -> dict[str, int]:
    area = _MAX_WORK_AREA * short_side_px**2
    scale = min(short_side_px / min(height, width), (area / (height * width)) ** 0.5)
    sides = (
        max(1, round(length * scale / SIDE_MULTIPLE_PX)) * SIDE_MULTIPLE_PX for length in (height, width)
    )
    return dict(zip(("work_height", "work_width"), sides, strict=True))


def _resized(values: np.ndarray, height: int, width: int, when_it_grows: int) -> np.ndarray:
    """Resize by area means when it shrinks, so that every pixel counts, else with the given interpolation."""
    shrinks = height * width < values.shape[0] * values.shape[1]
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA if shrinks else when_it_grows)


def _returned(values: np.ndarray, window: WorkWindow) -> np.ndarray:
    """From work size to the part's size, float32. Linear when it grows, which avoids overshoot."""
    back = _resized(values.astype(np.float32), window.height, window.width, cv2.INTER_LINEAR)
    return np.asarray(back, np.float32)


def _detail_that_goes(mask: Mask, window: WorkWindow) -> Alpha:
    return _returned(dilated(mask, _SEAM_WORK_PX), window)
