"""The ground's geometry against the studio's cameras and a pinhole worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.objectclear.ground import bearing, depression, fit_horizon, to_ground_plane
from tasks.sources.synthetic.lighting import GROUND
from tasks.sources.synthetic.render import render
from tasks.sources.synthetic.scene import World, draw_scene, focal_px

SIZE = 96


def axis_depth(ray_depth: np.ndarray, focal: float) -> np.ndarray:
    """Along the axis instead of along the ray: the cosine of each pixel's angle, pixel by pixel."""
    out = np.empty_like(ray_depth)
    for row, column in np.ndindex(*ray_depth.shape):
        right, down = (column + 0.5 - SIZE / 2) / focal, (row + 0.5 - SIZE / 2) / focal
        out[row, column] = ray_depth[row, column] * np.cos(np.arctan(np.hypot(right, down)))
    return out


@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_the_horizon_lies_where_the_cameras_pitch_puts_it(seed: int) -> None:
    scene = replace(draw_scene(seed, World()), solids=())
    rendering, focal = render(scene, SIZE, supersample=1), focal_px(scene, SIZE)
    depth = axis_depth(rendering.depth, focal)
    horizon = fit_horizon(depth, rendering.classes == GROUND)
    assert horizon == pytest.approx((SIZE - 1) / 2 - np.tan(scene.camera_pitch) * focal, abs=0.5)
    in_other_units = fit_horizon(depth * 37, rendering.classes == GROUND)
    assert in_other_units == pytest.approx(horizon, abs=1e-3)


def test_ground_that_says_nothing_gives_no_horizon() -> None:
    ground = np.zeros((40, 40), bool)
    assert fit_horizon(np.ones((40, 40), np.float32), ground) is None
    ground[30:33] = True
    assert fit_horizon(np.ones((40, 40), np.float32), ground) is None
    ground[10:] = True
    nearer_upwards = np.broadcast_to(np.arange(1, 41, dtype=np.float32)[:, None], (40, 40))
    assert fit_horizon(nearer_upwards, ground) is None


@pytest.mark.parametrize(("x", "z"), [(0.0, 4.0), (1.3, 5.0), (-0.8, 3.1)])
def test_a_point_of_the_ground_is_found_again_from_its_pixel(x: float, z: float) -> None:
    height, pitch, focal, size = 2.0, 0.3, 120.0, (200, 160)
    # The point in the camera's frame: turned by the pitch about the x axis, then divided by its depth.
    down = height * np.cos(pitch) - z * np.sin(pitch)
    ahead = height * np.sin(pitch) + z * np.cos(pitch)
    row, column = 99.5 + focal * down / ahead, 79.5 + focal * x / ahead
    horizon = 99.5 - focal * np.tan(pitch)
    found = to_ground_plane(np.array([row]), np.array([column]), horizon, focal, size)
    assert found[:, 0] * height == pytest.approx([x, z])
    assert depression(row, horizon, focal, 200) == pytest.approx(np.arctan(height / z))
    assert bearing(column, focal, 160) == pytest.approx(np.arctan(x / ahead))
