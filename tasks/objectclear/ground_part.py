"""The ground's geometry: its horizon from depth, and where on it a pixel lies."""

import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Depth, Region

_LEAST_ROWS = 8
"""Ground of fewer rows says nothing about how depth grows."""
_LEAST_FALL = 0.05
"""Share by which the inverse of depth must fall over the ground's rows; a floor seen from above has none."""

Points = NDArray[np.float64]


def fit_horizon(depth: Depth, ground: Region) -> float | None:
    """The row at which flat ground would end.

    Along level ground the inverse of depth falls in a straight line towards the horizon, whatever the unit.
    The camera is taken to be upright.

    Args:
        depth: H×W float32, along the view axis.
        ground: H×W bool.

    Returns:
        A row, from the top, often outside the picture; None where the ground shows too few rows or its
        depth does not grow upwards.
    """
    rows = np.flatnonzero(ground.any(axis=1))
    if len(rows) < _LEAST_ROWS:
        return None
    shown = ground[rows]
    inverse = np.where(shown, 1 / np.maximum(depth[rows], np.float32(1e-6)), 0)
    heights = inverse.sum(axis=1, dtype=np.float64) / shown.sum(axis=1)
    slope, offset = np.polyfit(rows, heights, 1, w=np.sqrt(shown.sum(axis=1)))
    if slope * (rows[-1] - rows[0]) <= _LEAST_FALL * heights.max():
        return None
    horizon = float(-offset / slope)
    return horizon if horizon < rows[-1] else None


def depression(row: float, horizon: float, focal_px: float, height_px: int) -> float:
    """Radians below the horizon at which an upright camera sees a row; its axis is the picture's middle."""
    middle = (height_px - 1) / 2
    return float(np.arctan((row - middle) / focal_px) - np.arctan((horizon - middle) / focal_px))


def bearing(column: float, focal_px: float, width_px: int) -> float:
    """Radians to the right of the camera's axis at which it sees a column."""
    return float(np.arctan((column - (width_px - 1) / 2) / focal_px))


def on_the_ground(
    rows: NDArray[np.number],
    columns: NDArray[np.number],
    horizon: float,
    focal_px: float,
    size: tuple[int, int],
) -> Points:
    """Where pixels lie on the ground, seen from above, in heights of the camera.

    Args:
        rows: N rows, all below the horizon.
        columns: N columns.
        horizon: As from `fit_horizon`.
        focal_px: Focal length in pixels.
        size: The picture's height and width.

    Returns:
        2×N float64: to the right, and away from the camera.
    """
    down = (rows - (size[0] - 1) / 2) / focal_px
    right = (columns - (size[1] - 1) / 2) / focal_px
    pitch = np.arctan(-(horizon - (size[0] - 1) / 2) / focal_px)
    fall = down * np.cos(pitch) + np.sin(pitch)
    return np.stack([right / fall, (np.cos(pitch) - down * np.sin(pitch)) / fall])
