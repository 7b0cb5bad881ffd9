"""The sun, and which solids stand between it and a point."""

import numpy as np
from numpy.typing import NDArray

from tasks.sources.synthetic.geometry import Rays, distance, may_meet
from tasks.sources.synthetic.scene import Scene

Touched = NDArray[np.uint8]
"""N uint8: bit i is set where solid i is seen, casts its shadow or is mirrored."""

_RING = 5
"""Directions about the sun's centre that stand for its disc."""


def sun_direction(scene: Scene) -> Rays:
    """Towards the sun's centre, 3×1 float32, unit."""
    level = np.cos(scene.sun_elevation)
    x, z = level * np.sin(scene.sun_azimuth), level * np.cos(scene.sun_azimuth)
    return np.array([[x], [np.sin(scene.sun_elevation)], [z]], np.float32)


def sun_share(
    scene: Scene, point: Rays, facing: NDArray[np.bool_], casters: frozenset[int]
) -> tuple[NDArray[np.float32], Touched]:
    """How much of the sun's disc each point sees past the casters.

    Args:
        scene: Whose sun and solids.
        point: 3×N float32, a little off their surfaces.
        facing: N or 1 bool, whether the surface faces the sun; where not, the share stays 1.
        casters: Indices of the solids that cast shadows.

    Returns:
        Shares, N float32, 0..1; and which solids take some of it away.
    """
    suns = _sun_samples(scene)
    hidden = np.zeros((len(suns), point.shape[1]), bool)
    touched = np.zeros(point.shape[1], np.uint8)
    facing = np.broadcast_to(facing, touched.shape)
    for index in casters:
        rows = may_meet(scene.solids[index], point, suns[0], scene.sun_softness)
        rows = rows[facing[rows]]
        near = point.take(rows, axis=1)
        blocked = np.stack([np.isfinite(distance(scene.solids[index], near, sun)) for sun in suns])
        hidden[:, rows] |= blocked
        touched[rows] |= blocked.any(axis=0).astype(np.uint8) << np.uint8(index)
    share = np.ones(len(touched), np.float32)
    shaded = np.flatnonzero(touched)
    share[shaded] = 1 - hidden[:, shaded].sum(axis=0, dtype=np.float32) / len(suns)
    return share, touched


def _sun_samples(scene: Scene) -> list[Rays]:
    """Directions (3×1 each) towards the sun's disc: its centre, and a ring about it for soft shadows."""
    centre = sun_direction(scene)
    if scene.sun_softness == 0:
        return [centre]
    right = np.cross(centre[:, 0], np.array([0, 1, 0], np.float32))
    right /= np.linalg.norm(right)
    upward = np.cross(right, centre[:, 0])
    angles = 2 * np.pi * np.arange(_RING) / _RING
    ring = [centre[:, 0] + scene.sun_softness * (np.cos(a) * right + np.sin(a) * upward) for a in angles]
    return [centre, *((ray / np.linalg.norm(ray)).astype(np.float32)[:, None] for ray in ring)]
