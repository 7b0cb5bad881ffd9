"""Render a scene with an analytic ray caster: an image, and the truth about every pixel."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Depth, RgbImage
from tasks.sources.synthetic.geometry import Distances, Rays
from tasks.sources.synthetic.lighting import FIRST_SOLID, Classes, Light, first_hits, shade, trace
from tasks.sources.synthetic.scene import Scene

_GAMMA = np.float32(1 / 2.2)
_BAND = 1 << 15
"""Rays traced at once: few enough for the processor's cache, many enough to hide numpy's overhead."""


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A scene seen by its camera. S = size in pixels, F = supersampling factor."""

    image: RgbImage
    """S×S×3 uint8."""
    depth: Depth
    """S×S float32, metres along the ray. Inf = sky."""
    classes: NDArray[np.int16]
    """S·F×S·F int16: SKY, GROUND, WALL or FIRST_SOLID + i for each subpixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the camera's rays meet, before lighting. N = (S·F)² rays, row by row."""

    scene: Scene
    size_px: int
    direction: Rays
    """3×N float32, unit."""
    distances: Distances
    classes: Classes


def render(
    scene: Scene, size_px: int, *, supersample: int = 2, casters: frozenset[int] | None = None
) -> Rendering:
    """Render a scene.

    Args:
        scene: What to render.
        size_px: Side of the square image.
        supersample: Rays per pixel along each side.
        casters: Indices of the solids that cast shadows and reflections. None = all. A solid that is left out
            is visible but has no effect on its surroundings, as in a copy-paste image.
    """
    sight = look(scene, size_px, supersample)
    light = expose(sight, all_solids(scene) if casters is None else casters)
    return rendering_of(sight, light)


def look(scene: Scene, size_px: int, supersample: int = 2) -> Sight:
    """Send out the camera's rays. This gives the geometry, so a target can be chosen before lighting."""
    direction = _camera_rays(scene, size_px * supersample)
    hits = [
        first_hits(scene, _eye(scene), direction[:, band], all_solids(scene)) for band in _bands(direction)
    ]
    distances, classes = (np.concatenate(part) for part in zip(*hits, strict=True))
    return Sight(scene, size_px, direction, distances, classes)


def expose(sight: Sight, casters: frozenset[int]) -> Light:
    """Light what the camera sees. Only ``casters`` cast shadows and reflections."""
    eye, ray, far, classes = _eye(sight.scene), sight.direction, sight.distances, sight.classes
    return _join(
        [shade(sight.scene, eye, ray[:, band], far[band], classes[band], casters) for band in _bands(ray)]
    )


def expose_without(sight: Sight, light: Light, solid: int) -> Light:
    """The same exposure without ``solid``. Only rays that it touched are traced again."""
    rows = np.flatnonzero(light.touched & (1 << solid))
    if not len(rows):
        return light
    rest = all_solids(sight.scene) - {solid}
    ray = sight.direction.take(rows, axis=1)
    again = _join([trace(sight.scene, _eye(sight.scene), ray[:, b], rest, rest) for b in _bands(ray)])
    color, touched = light.color.copy(), light.touched.copy()
    color[:, rows], touched[rows] = again.color, again.touched
    return Light(color, touched)


def rendering_of(sight: Sight, light: Light) -> Rendering:
    """Put the rays back on the pixel grid."""
    fine = round(len(sight.classes) ** 0.5)
    planes = np.clip(light.color, 0, 1).reshape(3, fine, fine)
    size = (sight.size_px, sight.size_px)
    # Averaged over the subpixels in linear light, then converted to a curve like sRGB's.
    small = cv2.merge([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])
    return Rendering(
        image=np.rint(np.clip(small, 0, 1) ** _GAMMA * 255).astype(np.uint8),
        depth=np.minimum.reduce(_subpixels(sight.distances.reshape(fine, fine), sight.size_px)),
        classes=sight.classes.reshape(fine, fine),
    )


def coverage(classes: NDArray[np.int16], solid: int, size_px: int) -> NDArray[np.float32]:
    """S×S float32, 0..1: the fraction of each pixel that shows solid ``solid``."""
    shown = _subpixels((classes == FIRST_SOLID + solid).astype(np.float32), size_px)
    return np.add.reduce(shown) / np.float32(len(shown))


def all_solids(scene: Scene) -> frozenset[int]:
    """The indices of a scene's solids."""
    return frozenset(range(len(scene.solids)))


def _subpixels(fine: NDArray[np.float32], size_px: int) -> list[NDArray[np.float32]]:
    """An S·F×S·F field as F² fields of S×S, one for each position within the pixel."""
    step = len(fine) // size_px
    return [fine[row::step, column::step] for row in range(step) for column in range(step)]


def _bands(rays: Rays) -> Iterator[slice]:
    for start in range(0, rays.shape[1], _BAND):
        yield slice(start, start + _BAND)


def _join(lights: list[Light]) -> Light:
    return Light(np.hstack([light.color for light in lights]), np.hstack([light.touched for light in lights]))


def _eye(scene: Scene) -> Rays:
    return np.array([[0], [scene.camera_height], [0]], np.float32)


def _camera_rays(scene: Scene, fine: int) -> Rays:
    """Unit directions, 3×fine² float32, row by row from the top left."""
    steps = ((np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1) * scene.half_view
    cos, sin = np.cos(scene.camera_pitch), np.sin(scene.camera_pitch)
    x, y, z = steps[None, :], (-steps * cos - sin)[:, None], (-steps * sin + cos)[:, None]
    length = np.sqrt(x * x + (y * y + z * z))
    return np.stack([axis / length for axis in (x, y, z)]).reshape(3, -1).astype(np.float32)
