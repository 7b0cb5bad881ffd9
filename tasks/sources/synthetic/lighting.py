"""Light along rays: what each meets first, how the sun, the sky and the mirror light it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.sources.synthetic.geometry import Distances, Rays, distance, may_meet, normal
from tasks.sources.synthetic.scene import Scene
from tasks.sources.synthetic.shadow import Touched, sun_direction, sun_share
from tasks.sources.synthetic.textures import albedo

SKY, GROUND, WALL, FIRST_SOLID = -1, 0, 1, 2
"""Class map: sky, ground, wall; solid i is FIRST_SOLID + i."""

Classes = NDArray[np.int16]
"""N int16: SKY, GROUND, WALL or FIRST_SOLID + i."""

_LIFT = np.float32(2e-3)
"""Metres a ray starts off the surface it leaves, so as not to meet it again at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """What N rays bring back."""

    color: Rays
    """3×N float32, linear red, green, blue."""
    touched: Touched
    """N: the solids each ray's colour depends on; without any other, the ray looks just the same."""


def first_hits(
    scene: Scene, origin: Rays, direction: Rays, seen: frozenset[int]
) -> tuple[Distances, Classes]:
    """Distance and class, N each, of what rays (3×N, unit) meet first among ``seen``, ground and wall."""
    x, y, z = direction
    nearest = np.where(y < -1e-6, -origin[1] / np.minimum(y, np.float32(-1e-6)), np.float32(np.inf))
    classes = np.where(np.isfinite(nearest), np.int16(GROUND), np.int16(SKY))
    if np.isfinite(scene.wall_z):
        ahead = (scene.wall_z - origin[2]) / np.maximum(z, np.float32(1e-6))
        nearer = np.flatnonzero((z > 1e-6) & (ahead < nearest))
        nearest[nearer], classes[nearer] = ahead[nearer], WALL
    for index in sorted(seen):
        rows = may_meet(scene.solids[index], origin, direction)
        t = distance(scene.solids[index], _at(origin, rows), _at(direction, rows))
        nearer = t < nearest[rows]
        nearest[rows[nearer]], classes[rows[nearer]] = t[nearer], FIRST_SOLID + index
    return nearest, classes


def trace(
    scene: Scene, origin: Rays, direction: Rays, seen: frozenset[int], casters: frozenset[int]
) -> Light:
    """The light of rays among the solids ``seen``, of which ``casters`` shadow and mirror themselves."""
    return shade(scene, origin, direction, *first_hits(scene, origin, direction, seen), casters)


def shade(
    scene: Scene,
    origin: Rays,
    direction: Rays,
    distances: Distances,
    classes: Classes,
    casters: frozenset[int],
) -> Light:
    """The light of rays whose first hits are known, surface by surface."""
    color = np.empty(direction.shape, np.float32)
    touched = np.zeros(len(classes), np.uint8)
    for label in range(SKY, FIRST_SOLID + len(scene.solids)):
        rows = np.flatnonzero(classes == label)
        if label == SKY:
            color[:, rows] = np.array(scene.sky, np.float32)[:, None]
        elif len(rows):
            ray = _at(direction, rows)
            point = _at(origin, rows) + distances[rows] * ray
            light = _shade_surface(scene, label, point, ray, casters)
            color[:, rows], touched[rows] = light.color, light.touched
    return Light(color, touched)


def _at(rays: Rays, rows: NDArray[np.intp]) -> Rays:
    """The rays of ``rows``; what all share stays 3×1."""
    return rays if rays.shape[1] == 1 else rays.take(rows, axis=1)


def _shade_surface(scene: Scene, label: int, point: Rays, ray: Rays, casters: frozenset[int]) -> Light:
    """The light of rays (3×N) that meet one surface at ``point`` (3×N)."""
    if label == GROUND:
        light = _lit(scene, albedo(scene.ground, point[0], point[2]), point, _UP, casters)
        return _with_mirror(scene, light, point, ray, casters) if scene.gloss else light
    if label == WALL:
        return _lit(scene, albedo(scene.wall, point[0], point[1]), point, _TOWARDS_CAMERA, casters)
    solid = scene.solids[label - FIRST_SOLID]
    paint = np.array(solid.color, np.float32)[:, None]
    light = _lit(scene, paint, point, normal(solid, point), casters)
    return Light(light.color, light.touched | np.uint8(1 << (label - FIRST_SOLID)))


_UP = np.array([[0], [1], [0]], np.float32)
_TOWARDS_CAMERA = np.array([[0], [0], [-1]], np.float32)


def _lit(scene: Scene, paint: Rays, point: Rays, normals: Rays, casters: frozenset[int]) -> Light:
    """Points of albedo ``paint`` under sky and sun; paint and normals 3×N or 3×1."""
    sky = (1 - scene.sun_strength) * (0.75 + 0.25 * normals[1])
    sun = sun_direction(scene)
    facing = np.maximum(normals[0] * sun[0] + normals[1] * sun[1] + normals[2] * sun[2], 0)
    if scene.sun_strength == 0 or not facing.any():
        return Light(paint * np.broadcast_to(sky, point.shape), np.zeros(point.shape[1], np.uint8))
    share, touched = sun_share(scene, point + normals * _LIFT, facing > 0, casters)
    direct = scene.sun_strength / float(np.sin(scene.sun_elevation)) * facing * share
    return Light(paint * (sky + direct), touched)


def _with_mirror(scene: Scene, light: Light, point: Rays, ray: Rays, casters: frozenset[int]) -> Light:
    """The glossy ground's picture of what stands on it."""
    bounced = ray * np.array([[1], [-1], [1]], np.float32)
    mirrored = trace(scene, point + _UP * _LIFT, bounced, casters, casters)
    color = (1 - scene.gloss) * light.color + scene.gloss * mirrored.color
    return Light(color, light.touched | mirrored.touched)
