"""The shadow's direction on the ground, as one of eight classes or none (ObjectClear, fact 13)."""

import numpy as np

from data_specs.arrays import Effect, Mask, Region
from data_specs.cutout import SHADOW_DIRECTIONS, ShadowClass
from tasks.objectclear.foot import base_of
from tasks.objectclear.ground_part import Points, on_the_ground

LEAST_SHARE = 0.01
"""A darkened patch of ground smaller than this share of the object is no shadow."""
_DARK = 12
"""Darkening, of 255, from which ground counts as in shadow."""
_BEHIND = 0.85
"""Of the base's half width: how far behind the lowest row the middle of the base lies. About 1 for a round
foot seen from the front, less for a ball, whose lowest row is its near side's."""


def shadow_class_of(angle: float) -> ShadowClass:
    """The class of an angle in radians: 0 = away from the camera, growing to the right."""
    return SHADOW_DIRECTIONS[round(angle / (np.pi / 4)) % len(SHADOW_DIRECTIONS)]


def shadow_angle(
    darkening: Effect, mask: Mask, ground: Region, horizon: float, focal_px: float
) -> float | None:
    """Where a shadow falls, seen from above.

    The paper does not publish its estimator. This one looks along the line from the middle of the object's
    base to the middle of its shadow, both on the ground (`on_the_ground`); each pixel weighs as much as the
    ground it shows, and as it is dark.

    Args:
        darkening: H×W×3 uint8, from `effect_layer`.
        mask: H×W bool, the object.
        ground: H×W bool; darkening elsewhere is not looked at.
        horizon: Row, from `fit_horizon`.
        focal_px: Focal length in pixels.

    Returns:
        Radians: 0 = away from the camera, growing to the right; None where there is no shadow.
    """
    dark = darkening.min(axis=2)
    shadow = (dark >= _DARK) & ground & ~mask
    shadow[: max(0, int(horizon) + 2)] = False
    if shadow.sum() < LEAST_SHARE * mask.sum():
        return None
    rows, columns = np.nonzero(shadow)
    points = on_the_ground(rows, columns, horizon, focal_px, mask.shape)
    # Seen from above, a pixel covers ground as the cube of its distance.
    weights = dark[rows, columns] * (points[1] ** 3)
    middle = (points * weights).sum(axis=1) / weights.sum()
    right, away = middle - base_middle(mask, horizon, focal_px)
    return float(np.arctan2(right, away))


def base_middle(mask: Mask, horizon: float, focal_px: float) -> Points:
    """The middle of an object's base on the ground: to the right and away, in heights of the camera."""
    row, (left, right) = base_of(mask)
    ends = on_the_ground(np.full(2, row), np.array([left, right]), horizon, focal_px, mask.shape)
    half_width = (ends[0, 1] - ends[0, 0]) / 2
    return np.array([ends[0].mean(), ends[1, 0] + _BEHIND * half_width])
