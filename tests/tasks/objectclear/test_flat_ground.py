"""Flat ground against exact geometry, and against points in space measured from the plane one by one."""

import numpy as np
import pytest

from data_specs.detection import SurfaceClass
from tasks.objectclear.ground import FlatGroundConfig, fit_ground_plane, flat_ground
from tasks.training.perception.samples import synthetic_surfaces

FOCAL, HEIGHT, WIDTH = 110.0, 96, 128
CONFIG = FlatGroundConfig()
PITCH = 0.3


def rays() -> np.ndarray:
    """H×W×3: where each pixel looks, in a frame whose y is the plumb line; depth 1 along the axis."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    x, y = (columns - (WIDTH - 1) / 2) / FOCAL, (rows - (HEIGHT - 1) / 2) / FOCAL
    down = y * np.cos(PITCH) + np.sin(PITCH)
    ahead = np.cos(PITCH) - y * np.sin(PITCH)
    return np.stack([x, down, ahead], axis=-1)


def met(normal: tuple[float, float, float], distance: float) -> np.ndarray:
    """H×W float32: depth along the axis of the plane normal·X = distance; inf where it is not in front."""
    towards = rays() @ np.array(normal)
    return np.where(towards > 1e-9, distance / np.maximum(towards, 1e-9), np.inf).astype(np.float32)


FLOOR = ((0.0, 1.0, 0.0), 2.2)
WALL = ((0.0, 0.0, 1.0), 7.0)


def all_ground() -> np.ndarray:
    return np.full((HEIGHT, WIDTH), SurfaceClass.GROUND, np.uint8)


def share(region: np.ndarray, of: np.ndarray) -> float:
    return float(region[of].mean())


def test_a_wall_that_the_classes_take_for_ground_is_not_flat_and_the_floor_is() -> None:
    floor, wall = met(*FLOOR), met(*WALL)
    depth, on_floor = np.minimum(floor, wall), floor < wall
    assert 0.2 < on_floor.mean() < 0.8
    found = flat_ground(all_ground(), depth, FOCAL, CONFIG)
    foot = np.abs(np.log(floor / wall)) < 0.2
    assert share(found, on_floor & ~foot) > 0.99
    assert not found[~on_floor & ~foot].any()


def test_the_wall_above_its_foot_is_told_by_its_slope_before_its_depth_is_far_off() -> None:
    floor, wall = met(*FLOOR), met(*WALL)
    last_of_wall = int(np.flatnonzero((floor >= wall).all(axis=1))[-1])
    within = floor < wall * (1 + CONFIG.depth_tolerance)
    assert within[last_of_wall - 3 : last_of_wall].all()
    found = flat_ground(all_ground(), np.minimum(floor, wall), FOCAL, CONFIG)
    assert not found[: last_of_wall - 2].any()
    assert found[last_of_wall + 4 :].all()


def test_a_wall_alone_and_a_floor_seen_from_above_are_not_ground() -> None:
    assert not flat_ground(all_ground(), met(*WALL), FOCAL, CONFIG).any()
    head_on = np.full((HEIGHT, WIDTH), 3, np.float32)
    assert not flat_ground(all_ground(), head_on, FOCAL, CONFIG).any()


@pytest.mark.parametrize("lean_deg", [-35, 35])
def test_a_slope_that_leans_sideways_is_not_ground(lean_deg: float) -> None:
    lean = np.radians(lean_deg)
    sloping = met((float(np.sin(lean)), float(np.cos(lean)), 0.0), 2.2)
    classes = np.where(np.isfinite(sloping), SurfaceClass.GROUND, SurfaceClass.SKY).astype(np.uint8)
    assert not flat_ground(classes, sloping, FOCAL, CONFIG).any()
    level = flat_ground(all_ground(), met(*FLOOR), FOCAL, CONFIG)
    assert share(level, np.isfinite(met(*FLOOR))) > 0.9


def test_of_a_step_only_the_larger_plane_is_flat() -> None:
    depth = met(*FLOOR)
    raised = np.zeros(depth.shape, bool)
    raised[50:80, 80:120] = True
    depth[raised] = met(FLOOR[0], 1.5)[raised]
    found = flat_ground(all_ground(), depth, FOCAL, CONFIG)
    assert not found[raised].any()
    assert share(found[60:], ~raised[60:]) > 0.9


def test_where_the_classes_say_otherwise_depth_does_not_make_ground() -> None:
    classes = all_ground()
    classes[60:, :40] = SurfaceClass.OBJECT
    found = flat_ground(classes, met(*FLOOR), FOCAL, CONFIG)
    assert not found[60:, :40].any()
    assert found[60:, 44:].all()


def test_small_islands_are_dropped() -> None:
    classes = np.full((HEIGHT, WIDTH), SurfaceClass.WALL, np.uint8)
    classes[60:] = SurfaceClass.GROUND
    classes[50:55, 10:15] = SurfaceClass.GROUND
    depth = met(*FLOOR)
    assert not flat_ground(classes, depth, FOCAL, CONFIG)[50:55].any()
    kept = flat_ground(classes, depth, FOCAL, FlatGroundConfig(min_island_fraction=0))
    assert kept[50:55, 10:15].any()


@pytest.mark.parametrize("unit", [0.01, 1.0, 300.0])
def test_the_unit_of_depth_does_not_matter(unit: float) -> None:
    depth = np.minimum(met(*FLOOR), met(*WALL))
    found = flat_ground(all_ground(), depth, FOCAL, CONFIG)
    np.testing.assert_array_equal(flat_ground(all_ground(), depth * np.float32(unit), FOCAL, CONFIG), found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (40, 3)])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0, -1, 4])
def test_images_too_small_or_of_unknown_depth_have_no_ground(shape: tuple[int, int], value: float) -> None:
    classes = np.full(shape, SurfaceClass.GROUND, np.uint8)
    assert not flat_ground(classes, np.full(shape, value, np.float32), FOCAL, CONFIG).any()


@pytest.mark.parametrize("index", [1, 2, 4, 5])
def test_the_studios_floor_is_found_by_the_distance_of_its_points(index: int) -> None:
    """A second way: each pixel's point in space, and its distance from the plane through the true floor."""
    seen = synthetic_surfaces(index, "measure", 96)
    misled = np.where(seen.classes == SurfaceClass.SKY, seen.classes, SurfaceClass.GROUND).astype(np.uint8)
    found = flat_ground(misled, seen.depth, seen.focal_px, FlatGroundConfig(depth_tolerance=0.05))
    floor = seen.classes == SurfaceClass.GROUND
    points = []
    for row, column in np.argwhere(np.isfinite(seen.depth)):
        x, y = (column - 47.5) / seen.focal_px, (row - 47.5) / seen.focal_px
        points.append((row, column, *(np.array([x, y, 1]) * seen.depth[row, column])))
    table = np.array(points)
    on_floor = floor[table[:, 0].astype(int), table[:, 1].astype(int)]
    normal = np.linalg.lstsq(table[on_floor, 2:], np.ones(on_floor.sum()), rcond=None)[0]
    above = np.abs(table[:, 2:] @ normal - 1)
    far = table[above > 0.2][:, :2].astype(int)
    assert not found[far[:, 0], far[:, 1]].any()
    assert share(found, floor) > 0.9
    plane = fit_ground_plane(seen.depth, found, seen.focal_px, tolerance=0.05, min_pitch=0.3, max_roll=0.3)
    assert plane is not None
    np.testing.assert_allclose([plane.right, plane.down, plane.ahead], normal, atol=0.005)
    horizon = 47.5 - plane.ahead / plane.down * seen.focal_px
    assert horizon == pytest.approx(seen.horizon, abs=1)
