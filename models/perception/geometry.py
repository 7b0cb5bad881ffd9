"""Letterbox: an image of any size in a network's square, and boxes back from there."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from data_specs.detection import Box


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """An image scaled into the upper left of a square, what is left over filled with one colour."""

    square: RgbImage
    """S×S×3 uint8."""
    across: float
    """Pixels of the square a pixel of the image, along rows; ``down`` along columns."""
    down: float
    height: int
    """Of the image."""
    width: int

    def box_in_image(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """A box of the square in the image's pixels, cut at its edges; None if nothing is left."""
        box = Box(
            left=min(max(left / self.across, 0.0), self.width),
            top=min(max(top / self.down, 0.0), self.height),
            right=min(max(right / self.across, 0.0), self.width),
            bottom=min(max(bottom / self.down, 0.0), self.height),
        )
        return box if box.right > box.left and box.bottom > box.top else None


def letterbox(source: RgbImage, side_px: int, fill: tuple[int, int, int]) -> Letterbox:
    """Scale H×W×3 uint8 so that its longer side is ``side_px``; a thin image keeps one pixel."""
    height, width = source.shape[:2]
    scale = side_px / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((side_px, side_px, 3), fill, np.uint8)
    square[:new_height, :new_width] = cv2.resize(source, (new_width, new_height), interpolation=how)
    return Letterbox(square, new_width / width, new_height / height, height, width)


# The square about a box that a small network looks at: cut out of an image, and drawn back into it.

Level = TypeVar("Level", np.uint8, np.float32)

_MIN_EXTENT_PX = 8
"""A square this small shows an object of a few pixels, with some of what lies about it."""


@dataclass(frozen=True, slots=True)
class ViewSquare:
    """A square in an image's pixels; it may reach beyond the image."""

    left: int
    top: int
    extent: int
    """Its side."""

    def cut(self, image: NDArray[Level], side_px: int, fill: tuple[int, ...]) -> NDArray[Level]:
        """What it shows of an H×W×C array, as ``side_px``×``side_px``×C (without C = 1, as cv2 has it)."""
        view = np.full((self.extent, self.extent, image.shape[2]), fill, image.dtype)
        inside, seen = self._shared(image.shape)
        view[seen] = image[inside]
        how = cv2.INTER_AREA if self.extent > side_px else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(view, (side_px, side_px), interpolation=how), image.dtype)

    def drawn(self, logits: NDArray[np.float32], shape: tuple[int, ...]) -> Mask:
        """S×S logits as a mask H×W bool of the whole image."""
        found = cv2.resize(logits, (self.extent, self.extent), interpolation=cv2.INTER_LINEAR) > 0
        mask = np.zeros(shape[:2], bool)
        inside, seen = self._shared(shape)
        mask[inside] = found[seen]
        return mask

    def _shared(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """What square and image share: as rows and columns of the image, and of the square."""
        (inner_rows, rows), (inner_columns, columns) = (
            _shared_run(first, self.extent, length)
            for first, length in ((self.top, shape[0]), (self.left, shape[1]))
        )
        return (inner_rows, inner_columns), (rows, columns)


def view_square(box: Box, zoom: float) -> ViewSquare:
    """The square of ``zoom`` longer sides about a box's middle."""
    extent = max(_MIN_EXTENT_PX, round(zoom * max(box.right - box.left, box.bottom - box.top)))
    return ViewSquare(
        left=round((box.left + box.right - extent) / 2),
        top=round((box.top + box.bottom - extent) / 2),
        extent=extent,
    )


def _shared_run(first: int, extent: int, length: int) -> tuple[slice, slice]:
    """What ``first`` to ``first + extent`` and 0 to ``length`` share: counted from 0, and from ``first``."""
    start = min(max(first, 0), length)
    stop = max(start, min(first + extent, length))
    return slice(start, stop), slice(start - first, stop - first)
