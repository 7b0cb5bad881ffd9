"""Find connected regions of a mask, and cut squares out of images."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from data_specs.arrays import Mask, Region, RgbImage


def label_regions(
    mask: MatLike | Mask, connectivity: Literal[4, 8] = 8
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Number the regions of an H×W bool or 0/1 mask.

    Returns:
        Labels, H×W, 0 = outside. Areas in pixels, N. Boxes (left, top, right, bottom), N×4, right and bottom
        exclusive. Row 0 of areas and boxes is the outside.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    boxes = np.array(stats[:, :4], np.int32)
    boxes[:, 2:] += boxes[:, :2]
    return np.asarray(labels, np.int32), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32), boxes


def regions_holding(regions: MatLike | Mask, seeds: MatLike | Mask) -> NDArray[np.uint8]:
    """The regions of an H×W mask that contain at least one seed, H×W uint8 0 or 1."""
    labels, areas, _ = label_regions(regions)
    kept = np.zeros(areas.size, np.uint8)
    kept[np.unique(labels[seeds > 0])] = 1
    kept[0] = 0
    return kept[labels]


def fill_holes(regions: MatLike, largest_px: float) -> MatLike:
    """H×W uint8 0 or 1, with holes of at most this number of pixels filled."""
    labels, areas, _ = label_regions(1 - regions, connectivity=4)
    fill = (areas <= largest_px).astype(np.uint8)
    fill[0] = 0
    return cv2.bitwise_or(regions, fill[labels])


def drop_small(regions: MatLike, min_area_px: float) -> Region:
    """The regions of at least this number of pixels, H×W bool."""
    labels, areas, _ = label_regions(regions)
    kept = areas >= min_area_px
    kept[0] = False
    return kept[labels]


def disc(radius: int) -> NDArray[np.uint8]:
    """The round kernel of a radius in pixels."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)


def mask_iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two H×W masks. 1 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


# Square cuts: their position, and how they become samples of one size.

_COVERED = 0.25
"""A reduced pixel is masked if the mask covers this fraction of it. A missed rim is worse than a wide one."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square inside an image, in pixels."""

    left: int
    top: int
    side: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part of an H×W or H×W×C array inside the square."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


def cut_image(image: RgbImage, square: Square, size_px: int) -> RgbImage:
    """Cut and resize to ``size_px``×``size_px``×3 uint8: by area to reduce, by cubic to enlarge."""
    how = cv2.INTER_AREA if square.side >= size_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square.of(image), (size_px, size_px), interpolation=how), np.uint8)


def cut_mask(mask: Mask, square: Square, size_px: int) -> Mask:
    """Cut and resize to ``size_px``×``size_px`` bool."""
    part = square.of(mask).astype(np.float32)
    how = cv2.INTER_AREA if square.side >= size_px else cv2.INTER_LINEAR
    return cv2.resize(part, (size_px, size_px), interpolation=how) > _COVERED


def square_about(mask: Mask) -> Square:
    """The largest square of the image around the mask's middle. Its side is the image's short side."""
    height, width = mask.shape
    side = min(height, width)
    left, top, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
    return Square(
        left=min(max(left + box_width // 2 - side // 2, 0), width - side),
        top=min(max(top + box_height // 2 - side // 2, 0), height - side),
        side=side,
    )
