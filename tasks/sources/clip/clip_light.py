"""Light drift: bring one picture of a scene to the light of another."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage

_REDUCTION = 8
_FIELD_SIGMA = 4.0
"""Blur of the local field, in reduced pixels: 32 pixels of the picture."""
_TOLERANCE = 6.0
"""Levels; what differs more after the global fit is an object, not light."""


def match_light(picture: RgbImage, target: RgbImage) -> RgbImage:
    """Bring ``picture`` to the light of ``target``: a gain and an offset a channel, objects left out.

    Args:
        picture: H×W×3 uint8.
        target: H×W×3 uint8, the same view.
    """
    small, goal = _reduced(picture), _reduced(target)
    tables = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        gain, offset = _robust_line(small[..., channel].ravel(), goal[..., channel].ravel())
        tables[0, :, channel] = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255)
    return np.asarray(cv2.LUT(picture, tables), np.uint8)


def match_light_locally(picture: RgbImage, target: RgbImage) -> RgbImage:
    """As ``match_light``, then follow what differs slowly across the picture (a passing cloud)."""
    matched = match_light(picture, target)
    difference = _reduced(target) - _reduced(matched)
    is_light = (np.abs(difference).max(axis=2) < _TOLERANCE).astype(np.float32)
    weight = cv2.GaussianBlur(is_light, (0, 0), _FIELD_SIGMA)[..., None]
    field = cv2.GaussianBlur(difference * is_light[..., None], (0, 0), _FIELD_SIGMA) / np.maximum(
        weight, 0.05
    )
    height, width = picture.shape[:2]
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(matched + field), 0, 255).astype(np.uint8)


def _reduced(picture: RgbImage) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    size = (max(8, width // _REDUCTION), max(8, height // _REDUCTION))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _robust_line(values: NDArray[np.float32], goals: NDArray[np.float32]) -> tuple[float, float]:
    """Gain and offset of ``goals`` over ``values``; outliers (objects) leave in three rounds."""
    gain, offset = 1.0, float(np.median(goals - values))
    for _ in range(3):
        residual = np.abs(goals - gain * values - offset)
        kept = residual <= max(2.0, 3.0 * float(np.median(residual)))
        spread = float(values[kept].std())
        if kept.sum() < 16 or spread < 2.0:
            break  # A flat picture fixes no gain.
        mean_value, mean_goal = float(values[kept].mean()), float(goals[kept].mean())
        gain = float(np.mean((values[kept] - mean_value) * (goals[kept] - mean_goal))) / spread**2
        offset = mean_goal - gain * mean_value
    return gain, offset
