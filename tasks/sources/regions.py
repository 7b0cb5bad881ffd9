"""Connected regions of a mask, with numpy's types where cv2 states none."""

from typing import Literal

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from data_specs.arrays import Mask


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
