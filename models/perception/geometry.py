"""Fit an image of any size into a network's square (letterbox, view square), and map results back."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from data_specs.detection import Box


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """An image scaled into the upper left of a square. One colour fills the rest."""

    square: RgbImage
    """S×S×3 uint8."""
    across: float
    """Pixels of the square for one image pixel, along rows. ``down`` is the same along columns."""
    down: float
    height: int
    """Rows of the image."""
    width: int

    def box_in_image(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """Map a box of the square to the image's pixels, cut at the image's edges.

        None if nothing is left.
        """
        box = Box(
            left=min(max(left / self.across, 0.0), self.width),
            top=min(max(top / self.down, 0.0), self.height),
            right=min(max(right / self.across, 0.0), self.width),
            bottom=min(max(bottom / self.down, 0.0), self.height),
        )
        return box if box.right > box.left and box.bottom > box.top else None


def letterbox(source: RgbImage, side_px: int, fill: tuple[int, int, int]) -> Letterbox:
    """Scale H×W×3 uint8 so that its longer side is ``side_px``. A thin image keeps at least one pixel."""
    height, width = source.shape[:2]
    scale = side_px / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((side_px, side_px, 3), fill, np.uint8)
    square[:new_height, :new_width] = cv2.resize(source, (new_width, new_height), interpolation=how)
    return Letterbox(square, new_width / width, new_height / height, height, width)


# A square around a box: cut from an image for a small network, and drawn back into the image.

Level = TypeVar("Level", np.uint8, np.float32)

_MIN_EXTENT_PX = 8
"""A square of this size shows an object of a few pixels and some of its surroundings."""


@dataclass(frozen=True, slots=True)
class ViewSquare:
    """A square in an image's pixels. It may extend beyond the image."""

    left: int
    top: int
    extent: int
    """Length of a side."""

    def cut(self, image: NDArray[Level], side_px: int, fill: tuple[int, ...]) -> NDArray[Level]:
        """Cut the square from an H×W×C array, as ``side_px``×``side_px``×C (without C = 1, as in cv2)."""
        view = np.full((self.extent, self.extent, image.shape[2]), fill, image.dtype)
        inside, seen = self._shared(image.shape)
        view[seen] = image[inside]
        how = cv2.INTER_AREA if self.extent > side_px else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(view, (side_px, side_px), interpolation=how), image.dtype)

    def drawn(self, logits: NDArray[np.float32], shape: tuple[int, ...]) -> Mask:
        """Turn S×S logits into a mask H×W bool of the whole image."""
        square_mask = cv2.resize(logits, (self.extent, self.extent), interpolation=cv2.INTER_LINEAR) > 0
        mask = np.zeros(shape[:2], bool)
        inside, seen = self._shared(shape)
        mask[inside] = square_mask[seen]
        return mask

    def _shared(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The intersection of square and image, as rows and columns of the image and of the square."""
        (inner_rows, rows), (inner_columns, columns) = (
            _shared_run(first, self.extent, length)
            for first, length in ((self.top, shape[0]), (self.left, shape[1]))
        )
        return (inner_rows, inner_columns), (rows, columns)


def view_square(box: Box, zoom: float) -> ViewSquare:
    """A square around a box's centre. Its side is ``zoom`` times the box's longer side."""
    extent = max(_MIN_EXTENT_PX, round(zoom * max(box.right - box.left, box.bottom - box.top)))
    return ViewSquare(
        left=round((box.left + box.right - extent) / 2),
        top=round((box.top + box.bottom - extent) / 2),
        extent=extent,
    )


def _shared_run(first: int, extent: int, length: int) -> tuple[slice, slice]:
    """Intersect ``first`` to ``first + extent`` with 0 to ``length``: counted from 0, and from ``first``."""
    start = min(max(first, 0), length)
    stop = max(start, min(first + extent, length))
    return slice(start, stop), slice(start - first, stop - first)
