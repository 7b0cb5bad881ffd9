"""Intersect rays with solids: where a ray first meets one, and the surface normal there."""

import numpy as np
from numpy.typing import NDArray

from tasks.sources.synthetic.scene import Solid

# Always float32, but numpy's stubs call some products of float32 arrays float64.
Rays = NDArray[np.floating]
"""3×N float32: rows x, y, z, each contiguous. 3×1 if all rays share it."""
Distances = NDArray[np.float32]
"""N float32 along the ray. Inf = miss."""

_MISS = np.float32(np.inf)
_EPSILON = np.float32(1e-4)


def distance(solid: Solid, origin: Rays, direction: Rays) -> Distances:
    """The distance at which N rays first meet a solid that stands on y = 0.

    Args:
        solid: The object.
        origin: 3×N or 3×1 float32, outside the solid.
        direction: 3×N or 3×1 float32 of any length > 0. Distances are in its units.
    """
    local = origin - _foot(solid)
    if solid.shape == "sphere":
        return _to_sphere(solid, local, direction)
    if solid.shape == "box":
        return _to_box(solid, local, direction)
    if solid.shape == "cylinder":
        return _to_cylinder(solid, local, direction)
    return _to_cone(solid, local, direction)


def normal(solid: Solid, point: Rays) -> Rays:
    """Outward unit normals, 3×N float32, at points on a solid's surface (3×N)."""
    local = point - _foot(solid)
    if solid.shape == "sphere":
        local[1] -= solid.radius
        return local / np.float32(solid.radius)
    if solid.shape == "box":
        return _box_normal(solid, local)
    if solid.shape == "cylinder":
        local[1] = 0
        on_top = np.abs(point[1] - solid.height) < _EPSILON
        return np.where(on_top, _column(0, 1, 0), local / np.float32(solid.radius))
    local[1] = (solid.height - local[1]) * (solid.radius / solid.height) ** 2
    return local / np.maximum(np.sqrt(_dot(local, local)), np.float32(1e-9))


def may_meet(solid: Solid, origin: Rays, direction: Rays, spread: float = 0.0) -> NDArray[np.intp]:
    """Which rays may meet a solid: those that hit its bounding sphere. A cheap test before the exact one.

    Args:
        solid: The object.
        origin: 3×N or 3×1 float32.
        direction: 3×N or 3×1 float32, unit length.
        spread: Each ray stands for a cone of rays. This is the tangent of the cone's half angle.

    Returns:
        Ascending indices of the rays that cannot be ruled out.
    """
    half_width = solid.radius * (np.sqrt(2) if solid.shape == "box" else 1)
    half_height = solid.radius if solid.shape == "sphere" else solid.height / 2
    ball = float(half_width if solid.shape == "sphere" else np.hypot(half_width, half_height)) * 1.001
    offset = _foot(solid) + _column(0, half_height, 0) - origin
    along = _dot(offset, direction)
    reach = ball + spread * np.maximum(along + ball, 0) if spread else ball
    return np.flatnonzero((_dot(offset, offset) - along * along <= reach * reach) & (along > -ball))


def _foot(solid: Solid) -> Rays:
    return _column(solid.x, 0, solid.z)


def _column(x: float, y: float, z: float) -> Rays:
    return np.array([[x], [y], [z]], np.float32)


def _dot(a: Rays, b: Rays) -> NDArray[np.float32]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _roots(
    a: NDArray[np.float32], half_b: NDArray[np.float32], c: NDArray[np.float32]
) -> tuple[Distances, Distances]:
    """Both roots of a·t² + 2·half_b·t + c, ascending where a > 0. Inf if there are none."""
    a = np.where(np.abs(a) < 1e-12, np.float32(1e-12), a)
    inner = half_b * half_b - a * c
    root = np.sqrt(np.maximum(inner, 0))
    miss = inner < 0
    return np.where(miss, _MISS, (-half_b - root) / a), np.where(miss, _MISS, (-half_b + root) / a)


def _to_sphere(solid: Solid, o: Rays, d: Rays) -> Distances:
    o[1] -= solid.radius
    near, _ = _roots(_dot(d, d), _dot(o, d), _dot(o, o) - solid.radius**2)
    return np.where(near > _EPSILON, near, _MISS)


def _to_box(solid: Solid, o: Rays, d: Rays) -> Distances:
    o, d = _turned(o, solid.turn), _turned(d, solid.turn)
    bounds = ((-solid.radius, solid.radius), (0, solid.height), (-solid.radius, solid.radius))
    near, far = np.float32(-np.inf), np.float32(np.inf)
    for start, step, (low, high) in zip(o, d, bounds, strict=True):
        step = np.where(np.abs(step) < 1e-9, np.float32(1e-9), step)
        one, two = (low - start) / step, (high - start) / step
        near = np.maximum(near, np.minimum(one, two))
        far = np.minimum(far, np.maximum(one, two))
    return np.where((near <= far) & (near > _EPSILON), near, _MISS)


def _box_normal(solid: Solid, local: Rays) -> Rays:
    """The axis on which the point is farthest out, as a fraction of the box's half sides."""
    half = _column(solid.radius, solid.height / 2, solid.radius)
    local_point = (_turned(local, solid.turn) - _column(0, solid.height / 2, 0)) / half
    outmost = np.abs(local_point).argmax(0) == np.arange(3)[:, None]
    return _turned(np.where(outmost, np.sign(local_point), 0).astype(np.float32), -solid.turn)


def _turned(rays: Rays, angle: float) -> Rays:
    """The rays in a frame that is turned by ``angle`` radians around the vertical."""
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return np.stack([rays[0] * cos + rays[2] * sin, rays[1], rays[2] * cos - rays[0] * sin])


def _to_cylinder(solid: Solid, o: Rays, d: Rays) -> Distances:
    near, _ = _roots(
        d[0] * d[0] + d[2] * d[2],
        o[0] * d[0] + o[2] * d[2],
        o[0] * o[0] + o[2] * o[2] - solid.radius**2,
    )
    height = o[1] + d[1] * np.where(np.isfinite(near), near, 0)
    side = np.where((near > _EPSILON) & (height >= 0) & (height <= solid.height), near, _MISS)
    return np.minimum(side, _to_disc(o, d, solid.height, solid.radius))


def _to_cone(solid: Solid, o: Rays, d: Rays) -> Distances:
    o[1] -= solid.height
    weight = -((solid.radius / solid.height) ** 2)
    roots = _roots(
        d[0] * d[0] + weight * d[1] * d[1] + d[2] * d[2],
        o[0] * d[0] + weight * o[1] * d[1] + o[2] * d[2],
        o[0] * o[0] + weight * o[1] * o[1] + o[2] * o[2],
    )
    best = _MISS
    for t in roots:
        height = o[1] + d[1] * np.where(np.isfinite(t), t, 0)
        good = (t > _EPSILON) & (height <= 0) & (height >= -solid.height)
        best = np.where(good, np.minimum(best, t), best)
    return np.asarray(best, np.float32)


def _to_disc(o: Rays, d: Rays, height: float, radius: float) -> Distances:
    """Distance to a horizontal disc at ``height``."""
    t = (height - o[1]) / np.where(np.abs(d[1]) < 1e-9, np.float32(1e-9), d[1])
    x, z = o[0] + t * d[0], o[2] + t * d[2]
    return np.where((t > _EPSILON) & (x * x + z * z <= radius**2), t, _MISS)
