"""Intersections against a second implementation: marching along the ray through an implicit function."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.sources.synthetic.geometry import distance, may_meet, normal
from tasks.sources.synthetic.scene import SHAPES, Shape, Solid

Points = NDArray[np.float64]
Implicit = Callable[[Points], Points]
RAYS, STEP, FAR = 1500, 0.005, 12.0


def faces_of(solid: Solid) -> Implicit:
    """3×… points → K×… how far outside each bounding surface; inside the solid all are negative."""
    h, r = solid.height, solid.radius

    def faces(point: Points) -> Points:
        x, y, z = point[0] - solid.x, point[1], point[2] - solid.z
        if solid.shape == "sphere":
            return np.stack([np.sqrt(x**2 + (y - r) ** 2 + z**2) - r])
        if solid.shape == "cylinder":
            return np.stack([np.hypot(x, z) - r, y - h, -y])
        if solid.shape == "cone":
            return np.stack([(np.hypot(x, z) - r * (1 - y / h)) / np.hypot(1, r / h), -y])
        spin = (x + 1j * z) * np.exp(-1j * solid.turn)
        return np.stack([np.abs(spin.real) - r, np.abs(spin.imag) - r, y - h, -y])

    return faces


def random_solid(shape: Shape, rng: np.random.Generator) -> Solid:
    return Solid(
        shape=shape,
        x=float(rng.uniform(-2, 2)),
        z=float(rng.uniform(3.6, 6.4)),
        radius=float(rng.uniform(0.3, 0.6)),
        height=float(rng.uniform(0.6, 1.5)),
        turn=float(rng.uniform(0, np.pi / 2)),
        color=(0.5, 0.5, 0.5),
    )


def random_rays(solid: Solid, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rays from a shell of 2 to 4 m about the solid towards points near it, all above the ground."""
    about = rng.normal(size=(3, RAYS))
    about[1] = np.abs(about[1])
    about *= rng.uniform(2, 4, RAYS) / np.linalg.norm(about, axis=0)
    foot = np.array([[solid.x], [0], [solid.z]])
    start = foot + about
    aim = foot + rng.uniform(-0.9, 0.9, (3, RAYS)) + [[0], [0.7], [0]]
    ray = aim - start
    ray /= np.linalg.norm(ray, axis=0)
    return start.astype(np.float32), ray.astype(np.float32)


def march(
    faces: Implicit, start: NDArray[np.float32], ray: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First distance at which each ray is inside (inf = never), and how far outside it stays."""
    first, deepest = np.full(RAYS, np.inf), np.full(RAYS, np.inf)
    for t in np.arange(0, FAR, STEP):
        outside = faces(start.astype(float) + t * ray).max(0)
        deepest = np.minimum(deepest, outside)
        first = np.where((outside < 0) & np.isinf(first), t, first)
    return first, deepest


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rays_meet_where_marching_meets(shape: Shape, seed: int) -> None:
    rng = np.random.default_rng([seed, SHAPES.index(shape)])
    solid = random_solid(shape, rng)
    start, ray = random_rays(solid, rng)
    first, deepest = march(faces_of(solid), start, ray)
    t = distance(solid, start, ray)
    plain = (np.abs(deepest) > 0.01) & (start[1] + first.clip(max=FAR) * ray[1] > 0.02)
    hits, misses = plain & (deepest < 0), plain & (deepest > 0)
    assert hits.sum() > 100
    assert misses.sum() > 100
    assert np.isinf(t[misses]).all()
    late = first[hits] - t[hits]
    assert late.min() > -1e-3
    # A march may step over the tip of an edge, never over more than its own step of solid.
    assert np.mean(late < STEP + 1e-3) > 0.98
    assert late.max() < 0.25


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_are_the_implicit_functions_gradient(shape: Shape) -> None:
    rng = np.random.default_rng([7, SHAPES.index(shape)])
    solid = random_solid(shape, rng)
    start, ray = random_rays(solid, rng)
    t = distance(solid, start, ray)
    hits = np.isfinite(t)
    point = start[:, hits] + t[hits] * ray[:, hits]
    faces = faces_of(solid)
    depths = np.sort(faces(point.astype(float)), axis=0)
    assert np.abs(depths[-1]).max() < 1e-4, "every hit lies on the surface"
    plain = (point[1] > 0.02) & (depths[-2] < -0.02 if len(depths) > 1 else True)
    assert plain.sum() > 200
    nudge = 1e-4 * np.eye(3)[:, :, None]
    gradient = np.stack([(faces(point + step).max(0) - faces(point - step).max(0)) / 2e-4 for step in nudge])
    assert np.abs(normal(solid, point) - gradient)[:, plain].max() < 2e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cheap_test_rules_out_no_ray_that_meets(shape: Shape) -> None:
    rng = np.random.default_rng([11, SHAPES.index(shape)])
    for _ in range(20):
        solid = random_solid(shape, rng)
        start, ray = random_rays(solid, rng)
        kept = may_meet(solid, start, ray)
        assert set(np.flatnonzero(np.isfinite(distance(solid, start, ray)))) <= set(kept)
        assert len(kept) < RAYS, "and it rules some out"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cheap_test_holds_for_a_whole_cone_of_rays(shape: Shape) -> None:
    rng = np.random.default_rng([13, SHAPES.index(shape)])
    spread = 0.12
    for _ in range(10):
        solid = random_solid(shape, rng)
        start, ray = random_rays(solid, rng)
        kept = set(may_meet(solid, start, ray, spread))
        aside = np.cross(ray, rng.normal(size=ray.shape), axis=0)
        bent = ray + spread * aside / np.linalg.norm(aside, axis=0)
        meets = np.isfinite(distance(solid, start, bent.astype(np.float32)))
        assert set(np.flatnonzero(meets)) <= kept


def test_rays_that_share_an_origin_or_a_direction_meet_as_others_do() -> None:
    rng = np.random.default_rng(3)
    for shape in SHAPES:
        solid = random_solid(shape, rng)
        start, ray = random_rays(solid, rng)
        for one in (start[:, :1], np.repeat(start[:, :1], RAYS, axis=1)):
            np.testing.assert_array_equal(
                distance(solid, one, ray), distance(solid, np.repeat(start[:, :1], RAYS, axis=1), ray)
            )
        np.testing.assert_allclose(
            distance(solid, start, ray[:, :1]),
            distance(solid, start, np.repeat(ray[:, :1], RAYS, axis=1)),
            rtol=1e-6,
        )
