"""What the tiny ground models learn from: studio pictures with each pixel's class and depth, and variants."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Depth, RgbImage
from data_specs.detection import ClassMap, SurfaceClass
from data_specs.keys import derive_key
from models.training.augmentation import jittered
from models.training.samplers import MixedBatches
from tasks.objectclear.synthetic import along_axis
from tasks.sources.synthetic.lighting import GROUND, SKY, WALL, Classes
from tasks.sources.synthetic.render import render
from tasks.sources.synthetic.scene import Scene, draw_scene, focal_px
from tasks.training.perception.samples import WORLD, Part

_EMPTY_EVERY = 3
"""One scene in so many has nothing on its ground."""
_LEAST_CROP = 0.7
_MOST_NOISE = 10.0
_MOST_TINT = 0.15
"""How far each channel's gain is from 1, at most."""
_PITCHES = (0.05, 0.45)
"""Radians: half of the scenes to learn from are seen under these, so that horizons lie lower too."""

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True, eq=False)
class SeenSurfaces:
    """A square picture and all that is true of its surfaces."""

    picture: RgbImage
    """S×S×3 uint8."""
    classes: ClassMap
    """S×S uint8; of a mixed pixel, the class of its upper left quarter."""
    depth: Depth
    """S×S float32, metres along the view axis; inf = sky."""
    focal_px: float
    horizon: float
    """Row of the true horizon, often outside the picture."""


def studio_surfaces(index: int, part: Part, size_px: int) -> SeenSurfaces:
    """Studio scene ``index``, empty one time in three: the same index and part, the same picture.

    Args:
        index: From 0.
        part: Whose scenes; the two share none, and ``measure`` has the studio's own cameras only.
        size_px: Side of the picture.
    """
    scene = _scene(index, part)
    rendering, focal = render(scene, size_px), focal_px(scene, size_px)
    return SeenSurfaces(
        picture=rendering.picture,
        classes=_surface_classes(rendering.classes, size_px),
        depth=along_axis(rendering.depth, focal),
        focal_px=focal,
        horizon=(size_px - 1) / 2 - float(np.tan(scene.camera_pitch)) * focal,
    )


def varied(seen: SeenSurfaces, flip: bool, rng: np.random.Generator) -> SeenSurfaces:
    """A variant for training: cropped, mirrored, in other light and colours, with noise.

    A crop is taken to be a picture by the same lens from nearer, as its depths then are: no network can tell
    the two apart.
    """
    size = len(seen.picture)
    side = int(rng.integers(round(_LEAST_CROP * size), size + 1))
    top, left = (int(rng.integers(0, size - side + 1)) for _ in range(2))
    window = np.s_[top : top + side, left : left + side]
    step = -1 if flip else 1

    def cut(field: NDArray, how: int) -> NDArray:
        return np.asarray(cv2.resize(field[window], (size, size), interpolation=how))[:, ::step]

    return SeenSurfaces(
        picture=_other_light(cut(seen.picture, cv2.INTER_LINEAR), rng),
        classes=np.ascontiguousarray(cut(seen.classes, cv2.INTER_NEAREST)),
        depth=np.ascontiguousarray(cut(seen.depth, cv2.INTER_NEAREST)) * np.float32(side / size),
        focal_px=seen.focal_px,
        horizon=(seen.horizon + 0.5 - top) * size / side - 0.5,
    )


def varied_batches(
    pictures: Sequence[SeenSurfaces],
    batch_size: int,
    seed: int,
    collate: Callable[[list[SeenSurfaces]], Batch],
) -> Callable[[int, int, Sequence[slice]], Iterator[Batch]]:
    """Batches for ``train``: every picture once an epoch, varied by draws known from the step alone."""

    def batches_from(start: int, stop: int, parts: Sequence[slice]) -> Iterator[Batch]:
        order = MixedBatches([range(len(pictures))], batch_size, seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([seed, number])
            yield collate([varied(pictures[place], flip, rng) for place, flip in draws])

    return batches_from


def _scene(index: int, part: Part) -> Scene:
    seed = int(derive_key("ground", part, index)[:15], 16)
    scene = draw_scene(seed, WORLD)
    if index % _EMPTY_EVERY == 0:
        scene = replace(scene, solids=())
    if part == "train" and index % 2:
        scene = replace(scene, camera_pitch=float(np.random.default_rng(seed).uniform(*_PITCHES)))
    return scene


def _surface_classes(classes: Classes, size_px: int) -> ClassMap:
    step = len(classes) // size_px
    shown = classes[::step, ::step]
    surfaces = np.full(shown.shape, SurfaceClass.OBJECT, np.uint8)
    for label, surface in (
        (GROUND, SurfaceClass.GROUND),
        (WALL, SurfaceClass.WALL),
        (SKY, SurfaceClass.SKY),
    ):
        surfaces[shown == label] = surface
    return surfaces


def _other_light(picture: RgbImage, rng: np.random.Generator) -> RgbImage:
    jogged = jittered((picture, picture), rng)[0].astype(np.float32)
    tint = rng.uniform(1 - _MOST_TINT, 1 + _MOST_TINT, 3).astype(np.float32)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, _MOST_NOISE))
    return np.clip(np.rint(jogged * tint + noise), 0, 255).astype(np.uint8)
