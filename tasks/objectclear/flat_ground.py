"""Flat ground: where the classes say ground and the depth is that of one plane (papers.md fact 14)."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Depth, Region
from data_specs.detection import ClassMap, SurfaceClass
from tasks.objectclear.ground import GroundPlane, fit_ground_plane, off_plane
from tasks.sources.image_ops import label_regions

_WINDOWS_A_SIDE = 24
"""Slopes are taken over this part of the shorter side: beneath the depth's own grain."""


class FlatGroundConfig(BaseModel):
    """What counts as flat. The paper publishes no thresholds; these are ours."""

    model_config = ConfigDict(frozen=True)

    depth_tolerance: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="How far inverse depth may be off the plane's, as a share of it.",
    )
    slope_tolerance: float = Field(
        default=0.75,
        gt=0,
        description="How far inverse depth's slope may be off the plane's; 1 is the slope of a wall.",
    )
    least_pitch_deg: float = Field(
        default=20,
        ge=0,
        lt=90,
        description="A plane seen more head-on is a wall, or a floor without horizon.",
    )
    most_roll_deg: float = Field(default=20, gt=0, le=90, description="A plane that leans more is a slope.")
    least_island_share: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="A piece of ground smaller than this share of the picture is dropped.",
    )


def flat_ground(classes: ClassMap, depth: Depth, focal_px: float, config: FlatGroundConfig) -> Region:
    """The ground on which things can stand; where classes and depth disagree, it is not flat.

    Args:
        classes: H×W uint8, the values of SurfaceClass.
        depth: H×W float32 along the view axis, in any unit; inf, NaN or not above 0 where unknown.
        focal_px: Focal length in pixels.
        config: What counts as flat.

    Returns:
        H×W bool; empty if no pixel is ground, or the ground's depth fits no plane that can be ground.
    """
    ground = (classes == SurfaceClass.GROUND) & np.isfinite(depth) & (depth > 0)
    plane = fit_ground_plane(
        depth,
        ground,
        focal_px,
        tolerance=config.depth_tolerance,
        least_pitch=float(np.radians(config.least_pitch_deg)),
        most_roll=float(np.radians(config.most_roll_deg)),
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
    return _large_pieces(ground & flat, config.least_island_share)


def _slope(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """H×W, at least 0: change a pixel of a field, over a window that grows with the picture."""
    side = max(1, min(field.shape) // _WINDOWS_A_SIDE) | 1
    smooth = np.asarray(cv2.blur(field, (side, side)))
    across, down = (cv2.Sobel(smooth, cv2.CV_64F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    return np.hypot(across, down)


def _slope_of(plane: GroundPlane, focal_px: float) -> float:
    return float(np.hypot(plane.right, plane.down)) / focal_px


def _large_pieces(region: Region, least_share: float) -> Region:
    labels, areas, _ = label_regions(region, connectivity=4)
    large = areas >= least_share * region.size
    large[0] = False
    return large[labels]
