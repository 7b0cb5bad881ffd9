"""Connected regions of a mask, with numpy's types where cv2 states none."""

from typing import Literal

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from data_specs.arrays import Mask, Region


def label_regions(
    mask: MatLike | Mask, connectivity: Literal[4, 8] = 8
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Number the regions of an H×W bool or 0/1 mask.

    Returns:
        Labels, H×W, 0 = outside; areas in pixels, N; boxes (left, top, right, bottom), N×4, right and
        bottom exclusive. Row 0 of both is the outside.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    boxes = np.array(stats[:, :4], np.int32)
    boxes[:, 2:] += boxes[:, :2]
    return np.asarray(labels, np.int32), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int32), boxes


def regions_holding(regions: MatLike | Mask, seeds: MatLike | Mask) -> NDArray[np.uint8]:
    """The regions of an H×W mask that hold at least one seed, H×W uint8 0 or 1."""
    labels, areas, _ = label_regions(regions)
    kept = np.zeros(areas.size, np.uint8)
    kept[np.unique(labels[seeds > 0])] = 1
    kept[0] = 0
    return kept[labels]


def fill_holes(regions: MatLike, largest_px: float) -> MatLike:
    """H×W uint8 0 or 1 with its holes of at most so many pixels filled."""
    labels, areas, _ = label_regions(1 - regions, connectivity=4)
    fill = (areas <= largest_px).astype(np.uint8)
    fill[0] = 0
    return cv2.bitwise_or(regions, fill[labels])


def drop_small(regions: MatLike, min_area_px: float) -> Region:
    """The regions of at least so many pixels, H×W bool."""
    labels, areas, _ = label_regions(regions)
    kept = areas >= min_area_px
    kept[0] = False
    return kept[labels]


def disc(radius: int) -> NDArray[np.uint8]:
    """The round kernel of a radius in pixels."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)
