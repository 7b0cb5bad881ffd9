"""Find flat ground in an image: its plane and horizon from depth, an object's foot, a shadow's direction."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Depth, Effect, Mask, Region
from data_specs.cutout import SHADOW_DIRECTIONS, ShadowClass
from data_specs.detection import ClassMap, SurfaceClass
from tasks.sources.image_ops import label_regions

_MAX_PIXELS = 1500
"""Pixels used for a fit. Spread evenly, they tell as much as all pixels."""
_TRIES = 300
"""Planes through three pixels to try. If half of the pixels are ground, one try in eight hits the ground."""
_REFITS = 3
_NEAR = 0.9
"""The quantile of inverse depth that stands for the near ground. A few wild pixels do not move it."""
_MIN_VOLUME = 1e-6
"""The smallest volume that three pixels' directions span. Below it they lie almost on one line."""

FloatMap = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """Inverse depth = ``right``·x + ``down``·y + ``ahead``. x and y count focal lengths from the middle.

    The three numbers are also the plane's normal in the camera's frame, divided by its distance.
    """

    right: float
    down: float
    ahead: float

    @property
    def pitch(self) -> float:
        """Radians between it and the image plane: 0 = a wall straight ahead, or a floor seen from above."""
        return float(np.arctan2(np.hypot(self.right, self.down), abs(self.ahead)))

    @property
    def roll(self) -> float:
        """Radians by which it leans sideways, 0..π: 0 = level, more than π/2 = a ceiling or an overhang."""
        return float(np.arctan2(abs(self.right), self.down))

    def inverse_depth(self, shape: tuple[int, ...], focal_px: float) -> FloatMap:
        """H×W float64, one over the unit of depth. Not above 0 at the horizon and beyond."""
        y, x = directions(shape, focal_px)
        return self.right * x + self.down * y + self.ahead


def directions(shape: tuple[int, ...], focal_px: float) -> tuple[FloatMap, FloatMap]:
    """The directions of pixels in focal lengths from the middle: downwards H×1, to the right 1×W."""
    down, right = (
        (np.arange(length, dtype=np.float64) - (length - 1) / 2) / focal_px for length in shape[:2]
    )
    return down[:, None], right[None, :]


def fit_ground_plane(
    depth: Depth,
    among: Region,
    focal_px: float,
    *,
    tolerance: float,
    min_pitch: float,
    max_roll: float,
) -> GroundPlane | None:
    """Fit the plane that most pixels agree on, among planes that can be ground. It is deterministic.

    Args:
        depth: H×W float32 along the view axis, in any unit.
        among: H×W bool, pixels of known depth, > 0 and finite.
        focal_px: Focal length in pixels.
        tolerance: The largest deviation of inverse depth, as ``off_plane`` measures it.
        min_pitch: In radians, see ``GroundPlane.pitch``.
        max_roll: In radians, see ``GroundPlane.roll``.

    Returns:
        The plane, or None if no three of the pixels span a plane that can be ground.
    """
    places = np.flatnonzero(among)
    places = places[:: max(1, len(places) // _MAX_PIXELS)]
    if len(places) < 3:
        return None
    y, x = directions(depth.shape, focal_px)
    rows, columns = np.divmod(places, depth.shape[1])
    seen = np.stack([x[0, columns], y[rows, 0], np.ones(len(places))], axis=1)
    inverse = 1 / depth.ravel()[places].astype(np.float64)
    planes = _planes_through_three(seen, inverse)
    planes = planes[[_can_be_ground(GroundPlane(*plane), min_pitch, max_roll) for plane in planes]]
    if not len(planes):
        return None
    # The distance counts, not only whether it is within the tolerance: a plane aslant between wall and floor
    # is near many pixels and on none.
    closeness = np.maximum(0, 1 - (off_plane(inverse, planes @ seen.T) / tolerance) ** 2)
    best = planes[closeness.sum(axis=1).argmax()]
    for _ in range(_REFITS):
        on_it = off_plane(inverse, seen @ best) <= tolerance
        refit = np.linalg.lstsq(seen[on_it], inverse[on_it], rcond=None)[0]
        if not _can_be_ground(GroundPlane(*refit), min_pitch, max_roll):
            break
        best = refit
    return GroundPlane(*(float(number) for number in best))


def off_plane(inverse: FloatMap, on_plane: FloatMap) -> FloatMap:
    """How far inverse depth deviates from the plane's, as a fraction of it.

    Towards the horizon the plane's inverse depth goes to 0, and no depth can be close to it in proportion.
    The divisor is therefore at least a quarter of the near ground's inverse depth.

    Args:
        inverse: P values, of the pixels that may be ground.
        on_plane: P values, or N×P for N planes.

    Returns:
        An array shaped as ``on_plane``, at least 0.
    """
    near = np.quantile(inverse, _NEAR)
    return np.asarray(np.abs(inverse - on_plane) / np.maximum(on_plane, 0.25 * near), np.float64)


def _planes_through_three(seen: FloatMap, inverse: FloatMap) -> FloatMap:
    """N×3 planes, each through three of P pixels. Directions are P×3, inverse depths P."""
    threes = np.random.default_rng(0).integers(0, len(seen), (_TRIES, 3))
    corners = seen[threes]
    wide = np.abs(np.linalg.det(corners)) > _MIN_VOLUME
    solved = np.linalg.solve(corners[wide], inverse[threes[wide]][..., None])[..., 0]
    return np.asarray(solved, np.float64)


def _can_be_ground(plane: GroundPlane, min_pitch: float, max_roll: float) -> bool:
    return plane.pitch >= min_pitch and plane.roll <= max_roll


# Flat ground: the classes say ground, and the depth is that of one plane (papers.md, fact 14).

_WINDOWS_A_SIDE = 24
"""Slopes are taken over this part of the shorter side. The grain of the depth map is smaller."""


class FlatGroundConfig(BaseModel):
    """What counts as flat ground. The paper publishes no thresholds; these are ours."""

    model_config = ConfigDict(frozen=True)

    depth_tolerance: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Maximum difference between a pixel's inverse depth and the plane's, as a fraction of "
        "the plane's.",
    )
    slope_tolerance: float = Field(
        default=0.75,
        gt=0,
        description="Maximum slope of the difference between inverse depth and the plane's, as a multiple "
        "of the plane's slope. A wall has 1.",
    )
    min_pitch_deg: float = Field(
        default=20,
        ge=0,
        lt=90,
        description="Minimum angle between the ground and the image plane, in degrees. Below it, the "
        "plane is a wall or has no horizon.",
    )
    max_roll_deg: float = Field(
        default=20,
        gt=0,
        le=90,
        description="Maximum sideways tilt of the ground, in degrees. Above it, the plane is a slope.",
    )
    min_island_fraction: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="Minimum area of a piece of ground, as a fraction of the image. Smaller pieces are "
        "dropped.",
    )


def flat_ground(classes: ClassMap, depth: Depth, focal_px: float, config: FlatGroundConfig) -> Region:
    """Find the ground on which objects can stand. Where classes and depth disagree, it is not flat.

    Args:
        classes: H×W uint8, values of SurfaceClass.
        depth: H×W float32 along the view axis, in any unit. Inf, NaN or not above 0 where unknown.
        focal_px: Focal length in pixels.
        config: What counts as flat.

    Returns:
        H×W bool. Empty if no pixel is ground, or if the depth fits no plane that can be ground.
    """
    ground = (classes == SurfaceClass.GROUND) & np.isfinite(depth) & (depth > 0)
    plane = fit_ground_plane(
        depth,
        ground,
        focal_px,
        tolerance=config.depth_tolerance,
        min_pitch=float(np.radians(config.min_pitch_deg)),
        max_roll=float(np.radians(config.max_roll_deg)),
    )
    if plane is None:
        return np.zeros_like(ground)
    inverse, on_plane = (
        1 / depth[ground].astype(np.float64),
        plane.inverse_depth(depth.shape, focal_px)[ground],
    )
    off = np.zeros(depth.shape)
    off[ground] = inverse - on_plane
    flat = _slope(off) <= config.slope_tolerance * _slope_of(plane, focal_px)
    flat[ground] &= off_plane(inverse, on_plane) <= config.depth_tolerance
    return _large_pieces(ground & flat, config.min_island_fraction)


def _slope(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """H×W, at least 0: how much a field changes per pixel, over a window that grows with the image."""
    side = max(1, min(field.shape) // _WINDOWS_A_SIDE) | 1
    smooth = np.asarray(cv2.blur(field, (side, side)))
    across, down = (cv2.Sobel(smooth, cv2.CV_64F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    return np.hypot(across, down)


def _slope_of(plane: GroundPlane, focal_px: float) -> float:
    return float(np.hypot(plane.right, plane.down)) / focal_px


def _large_pieces(region: Region, min_fraction: float) -> Region:
    labels, areas, _ = label_regions(region, connectivity=4)
    large = areas >= min_fraction * region.size
    large[0] = False
    return large[labels]


# The ground's geometry: its horizon from depth, and the position of a pixel on it.

_MIN_ROWS = 8
"""Ground with fewer rows does not show how depth grows."""
_MIN_FALL = 0.05
"""The inverse depth must fall by this fraction over the ground's rows. A floor seen from above has none."""

Points = NDArray[np.float64]


def fit_horizon(depth: Depth, ground: Region) -> float | None:
    """Find the row at which flat ground would end.

    Along level ground the inverse depth falls in a straight line towards the horizon, whatever the unit.
    The camera is assumed to be upright.

    Args:
        depth: H×W float32, along the view axis.
        ground: H×W bool.

    Returns:
        A row from the top, often outside the image. None if the ground shows too few rows, or if its depth
        does not grow upwards.
    """
    rows = np.flatnonzero(ground.any(axis=1))
    if len(rows) < _MIN_ROWS:
        return None
    shown = ground[rows]
    inverse = np.where(shown, 1 / np.maximum(depth[rows], np.float32(1e-6)), 0)
    heights = inverse.sum(axis=1, dtype=np.float64) / shown.sum(axis=1)
    slope, offset = np.polyfit(rows, heights, 1, w=np.sqrt(shown.sum(axis=1)))
    if slope * (rows[-1] - rows[0]) <= _MIN_FALL * heights.max():
        return None
    horizon = float(-offset / slope)
    return horizon if horizon < rows[-1] else None


def depression(row: float, horizon: float, focal_px: float, height_px: int) -> float:
    """Radians below the horizon of a row, for an upright camera whose axis is the image's middle."""
    middle = (height_px - 1) / 2
    return float(np.arctan((row - middle) / focal_px) - np.arctan((horizon - middle) / focal_px))


def bearing(column: float, focal_px: float, width_px: int) -> float:
    """Radians to the right of the camera's axis at which it sees a column."""
    return float(np.arctan((column - (width_px - 1) / 2) / focal_px))


def to_ground_plane(
    rows: NDArray[np.number],
    columns: NDArray[np.number],
    horizon: float,
    focal_px: float,
    size: tuple[int, int],
) -> Points:
    """The positions of pixels on the ground, seen from above, in heights of the camera.

    Args:
        rows: N rows, all below the horizon.
        columns: N columns.
        horizon: A row, as `fit_horizon` returns it.
        focal_px: Focal length in pixels.
        size: The image's height and width.

    Returns:
        2×N float64: distance to the right, and distance away from the camera.
    """
    down = (rows - (size[0] - 1) / 2) / focal_px
    right = (columns - (size[1] - 1) / 2) / focal_px
    pitch = np.arctan(-(horizon - (size[0] - 1) / 2) / focal_px)
    fall = down * np.cos(pitch) + np.sin(pitch)
    return np.stack([right / fall, (np.cos(pitch) - down * np.sin(pitch)) / fall])


# The foot: where an object touches the ground.

_BASE_FRACTION = 0.1
"""The lowest part of an object that counts as its base, as a fraction of its height."""


def base_of(mask: Mask) -> tuple[int, tuple[int, int]]:
    """The lowest row of a non-empty object, and the leftmost and rightmost column of its base."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(_base(mask, rows).any(axis=0))
    return int(rows[-1]), (int(columns[0]), int(columns[-1]))


def foot_of(mask: Mask) -> tuple[int, int]:
    """Row and column of the foot: the lowest row, in the middle of the base."""
    row, (left, right) = base_of(mask)
    return row, (left + right) // 2


def contact_of(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that touch the ground: the lower edge of the base."""
    rows = np.flatnonzero(mask.any(axis=1))
    base = _base(mask, rows)
    columns = np.flatnonzero(base.any(axis=0))
    return rows[-1] - base[::-1, columns].argmax(axis=0), columns


def _base(mask: Mask, rows: NDArray[np.intp]) -> Mask:
    """The rows of the base. The last row is the object's lowest."""
    tall = rows[-1] + 1 - rows[0]
    return mask[rows[-1] + 1 - max(1, round(_BASE_FRACTION * tall)) : rows[-1] + 1]


# The shadow's direction on the ground, as one of eight classes or none (papers.md, fact 13).

MIN_FRACTION = 0.01
"""A darkened patch of ground smaller than this fraction of the object is no shadow."""
_DARK = 12
"""The darkening, of 255, from which ground counts as shadow."""
_BEHIND = 0.85
"""How far the middle of the base lies behind the lowest row, as a fraction of the base's half width. It is
about 1 for a round foot seen from the front. It is less for a ball, whose lowest row is its near side's."""


def shadow_class_of(angle: float) -> ShadowClass:
    """The shadow class of an angle in radians: 0 = away from the camera, growing to the right."""
    return SHADOW_DIRECTIONS[round(angle / (np.pi / 4)) % len(SHADOW_DIRECTIONS)]


def shadow_angle(
    darkening: Effect, mask: Mask, ground: Region, horizon: float, focal_px: float
) -> float | None:
    """Estimate the direction in which a shadow falls, seen from above.

    The paper does not publish its estimator. This one takes the line from the middle of the object's base to
    the middle of its shadow, both on the ground (`to_ground_plane`). The weight of a pixel is the ground area
    that it shows, times its darkening.

    Args:
        darkening: H×W×3 uint8, as `effect_layer` returns it.
        mask: H×W bool, True on the object.
        ground: H×W bool. Darkening elsewhere is ignored.
        horizon: A row, as `fit_horizon` returns it.
        focal_px: Focal length in pixels.

    Returns:
        Radians: 0 = away from the camera, growing to the right. None if there is no shadow.
    """
    dark = darkening.min(axis=2)
    shadow = (dark >= _DARK) & ground & ~mask
    shadow[: max(0, int(horizon) + 2)] = False
    if shadow.sum() < MIN_FRACTION * mask.sum():
        return None
    rows, columns = np.nonzero(shadow)
    points = to_ground_plane(rows, columns, horizon, focal_px, mask.shape)
    # Seen from above, the ground area of a pixel grows with the cube of its distance.
    weights = dark[rows, columns] * (points[1] ** 3)
    middle = (points * weights).sum(axis=1) / weights.sum()
    right, away = middle - base_middle(mask, horizon, focal_px)
    return float(np.arctan2(right, away))


def base_middle(mask: Mask, horizon: float, focal_px: float) -> Points:
    """The middle of an object's base on the ground: right and away, in heights of the camera."""
    row, (left, right) = base_of(mask)
    ends = to_ground_plane(np.full(2, row), np.array([left, right]), horizon, focal_px, mask.shape)
    half_width = (ends[0, 1] - ends[0, 0]) / 2
    return np.array([ends[0].mean(), ends[1, 0] + _BEHIND * half_width])
