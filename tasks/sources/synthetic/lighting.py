"""Light the rays of a scene: what each ray meets first, and its light from sun, sky and mirror."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.sources.synthetic.geometry import Distances, Rays, distance, may_meet, normal
from tasks.sources.synthetic.scene import Scene, Texture

# The sun, and the solids between it and a point.

Touched = NDArray[np.uint8]
"""N uint8: bit i is set where solid i is seen, casts its shadow or is mirrored."""

_RING = 5
"""Directions around the sun's centre that stand for its disc."""


def sun_direction(scene: Scene) -> Rays:
    """Direction to the sun's centre, 3×1 float32, unit length."""
    level = np.cos(scene.sun_elevation)
    x, z = level * np.sin(scene.sun_azimuth), level * np.cos(scene.sun_azimuth)
    return np.array([[x], [np.sin(scene.sun_elevation)], [z]], np.float32)


def sun_fraction(
    scene: Scene, point: Rays, facing: NDArray[np.bool_], casters: frozenset[int]
) -> tuple[NDArray[np.float32], Touched]:
    """The fraction of the sun's disc that each point sees past the casters.

    Args:
        scene: Its sun and its solids are used.
        point: 3×N float32, slightly off their surfaces.
        facing: N or 1 bool, whether the surface faces the sun. Where it does not, the fraction stays 1.
        casters: Indices of the solids that cast shadows.

    Returns:
        Fractions, N float32, 0..1, and the solids that block some of the sun.
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
    fraction = np.ones(len(touched), np.float32)
    shaded = np.flatnonzero(touched)
    fraction[shaded] = 1 - hidden[:, shaded].sum(axis=0, dtype=np.float32) / len(suns)
    return fraction, touched


def _sun_samples(scene: Scene) -> list[Rays]:
    """Directions (3×1 each) to the sun's disc: its centre, and a ring around it for soft shadows."""
    centre = sun_direction(scene)
    if scene.sun_softness == 0:
        return [centre]
    right = np.cross(centre[:, 0], np.array([0, 1, 0], np.float32))
    right /= np.linalg.norm(right)
    upward = np.cross(right, centre[:, 0])
    angles = 2 * np.pi * np.arange(_RING) / _RING
    ring = [centre[:, 0] + scene.sun_softness * (np.cos(a) * right + np.sin(a) * upward) for a in angles]
    return [centre, *((ray / np.linalg.norm(ray)).astype(np.float32)[:, None] for ray in ring)]


# Albedo of the ground and the wall: a Texture at plane coordinates.

# Always float32, but numpy's stubs call some products of float32 arrays float64.
Field = NDArray[np.floating]


def albedo(texture: Texture, u: Field, v: Field) -> Field:
    """Albedo at plane coordinates.

    Args:
        texture: The texture of the plane.
        u: N float32, metres across.
        v: N float32, metres along.

    Returns:
        3×N float32, 0..1.
    """
    # Summed wave by wave: the rounding of a matrix product may differ with the number of threads.
    color = np.repeat(np.array(texture.base, np.float32)[:, None], len(u), axis=1)
    for frequency_u, frequency_v, phase, *amplitudes in texture.waves.tolist():
        wave = np.sin(2 * np.pi * (u * frequency_u + v * frequency_v) + phase)
        for channel, amplitude in zip(color, amplitudes, strict=True):
            channel += texture.contrast * amplitude * wave
    if texture.kind != "soft":
        color *= _pattern(texture, u, v)
    return np.clip(color, 0.02, 0.98)


def _pattern(texture: Texture, u: Field, v: Field) -> Field:
    """N float32 brightness factor of the fine pattern, around 1."""
    across, along = u * texture.scale, v * texture.scale
    if texture.kind == "tiles":
        return 1 - 0.25 * ((np.floor(across) + np.floor(along)) % 2).astype(np.float32)
    if texture.kind == "planks":
        board = np.floor(across * 2)
        gap = (across * 2 - board) < 0.08
        return np.where(gap, 0.6, 0.85 + 0.3 * _hash(board, np.zeros_like(board))).astype(np.float32)
    octaves = (_value_noise(across * 2**k, along * 2**k) * 0.5**k for k in range(1, 5))
    return (0.75 + 0.5 * sum(octaves, np.zeros_like(u))).astype(np.float32)


def _value_noise(x: Field, y: Field) -> Field:
    """Smoothly interpolated lattice noise, 0..1."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    top = _hash(x0, y0) * (1 - fx) + _hash(x0 + 1, y0) * fx
    bottom = _hash(x0, y0 + 1) * (1 - fx) + _hash(x0 + 1, y0 + 1) * fx
    return top * (1 - fy) + bottom * fy


def _hash(x: Field, y: Field) -> Field:
    """A lattice point's fixed value, 0..1, by integer mixing. It is the same on every machine."""
    n = _whole(x) * np.uint32(374761393) + _whole(y) * np.uint32(668265263)
    n = (n ^ (n >> 13)) * np.uint32(1274126177)
    return ((n ^ (n >> 16)) & 0xFFFF).astype(np.float32) / 65535


def _whole(x: Field) -> NDArray[np.uint32]:
    """Integers modulo 2³²."""
    return x.astype(np.int64).astype(np.uint32)


SKY, GROUND, WALL, FIRST_SOLID = -1, 0, 1, 2
"""Class map: sky, ground, wall; solid i is FIRST_SOLID + i."""

Classes = NDArray[np.int16]
"""N int16: SKY, GROUND, WALL or FIRST_SOLID + i."""

_LIFT = np.float32(2e-3)
"""Metres by which a ray starts off the surface it leaves, so that it does not meet it again at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """The light of N rays."""

    color: Rays
    """3×N float32, linear red, green, blue."""
    touched: Touched
    """N: the solids that each ray's colour depends on. Without any other solid, the ray looks the same."""


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
    """The light of rays among the solids ``seen``. Only ``casters`` cast shadows and reflections."""
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
    """The rays of ``rows``. Rays that all share stay 3×1."""
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
    """Points of albedo ``paint`` under sky and sun. Paint and normals are 3×N or 3×1."""
    sky = (1 - scene.sun_strength) * (0.75 + 0.25 * normals[1])
    sun = sun_direction(scene)
    facing = np.maximum(normals[0] * sun[0] + normals[1] * sun[1] + normals[2] * sun[2], 0)
    if scene.sun_strength == 0 or not facing.any():
        return Light(paint * np.broadcast_to(sky, point.shape), np.zeros(point.shape[1], np.uint8))
    fraction, touched = sun_fraction(scene, point + normals * _LIFT, facing > 0, casters)
    direct = scene.sun_strength / float(np.sin(scene.sun_elevation)) * facing * fraction
    return Light(paint * (sky + direct), touched)


def _with_mirror(scene: Scene, light: Light, point: Rays, ray: Rays, casters: frozenset[int]) -> Light:
    """Add the reflections that the glossy ground shows."""
    bounced = ray * np.array([[1], [-1], [1]], np.float32)
    mirrored = trace(scene, point + _UP * _LIFT, bounced, casters, casters)
    color = (1 - scene.gloss) * light.color + scene.gloss * mirrored.color
    return Light(color, light.touched | mirrored.touched)
