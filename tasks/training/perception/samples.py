"""What the tiny perception models learn from: images with each object's class, colour, mask and box."""

import colorsys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Depth, Mask, RgbImage
from data_specs.detection import Box, ClassMap, SurfaceClass
from data_specs.keys import Split, derive_key
from data_specs.triplet import Triplet
from models.training.augmentation import jittered
from models.training.samplers import MixedBatches
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.image_ops import label_regions
from tasks.sources.synthetic.lighting import GROUND, SKY, WALL, Classes
from tasks.sources.synthetic.render import all_solids, coverage, expose, look, render, rendering_of
from tasks.sources.synthetic.samples import HUES, along_axis
from tasks.sources.synthetic.scene import SHAPES, Scene, World, draw_scene, focal_px

PERSON = "person"
CLASSES = (*SHAPES, PERSON)
"""What there is to find: the studio's solids, and who walks through the sample clip."""
WORLD = World(grounds="mixed", gloss_fraction=0.1, max_objects=5, apart=False)
"""Scenes of up to five solids that may hide one another, on every ground the studio has."""

CLIP_SQUARES = ClipConfig(size_px=128, crop_min_px=128, crop_max_px=288, mask_area_min=0.003)
"""The sample clip's people, from the whole of a square down to an eighth of its side."""

Part = Literal["train", "measure"]
"""Scenes to learn from, or scenes that no training of the project sees."""

_MIN_FRACTION = 0.003
"""Of the image: whatever shows less than this is nobody's object."""
_SIZES_PX = (64, 128, 192)
_SPLITS: dict[Part, Split] = {"train": "train", "measure": "test"}


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject:
    """One object as an image shows it."""

    class_name: str
    """One of CLASSES."""
    color: str | None
    """Of a solid: the nearest of HUES to its albedo. None: a person."""
    mask: Mask
    """H×W bool: the visible part."""
    box: Box
    """About the mask, tight."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """An image and all that is to be found in it."""

    source: RgbImage
    """H×W×3 uint8."""
    objects: tuple[SeenObject, ...]
    """May be none."""


def synthetic_image(index: int, part: Part, size_px: int | None = None) -> SeenImage:
    """Studio scene ``index`` with exact boxes and masks: the same index and part, the same image.

    Args:
        index: From 0.
        part: Whose scenes; the two share none.
        size_px: Side of the square image; None = 64, 128 or 192, by the index.
    """
    side = size_px or _SIZES_PX[index % len(_SIZES_PX)]
    scene = draw_scene(int(derive_key("perception", part, index)[:15], 16), WORLD)
    sight = look(scene, side)
    rendering = rendering_of(sight, expose(sight, all_solids(scene)))
    objects: list[SeenObject] = []
    for number, solid in enumerate(scene.solids):
        mask = coverage(rendering.classes, number, side) >= 0.5
        if mask.mean() >= _MIN_FRACTION:
            objects.append(SeenObject(solid.shape, _hue_name(solid.color), mask, box_about(mask)))
    return SeenImage(rendering.image, tuple(objects))


def clip_images(part: Part, config: ClipConfig = CLIP_SQUARES) -> Iterator[SeenImage]:
    """Squares of a clip with what moves in them, all of it taken for persons.

    The masks are change against the clean plate, not somebody's drawing, and people who touch are one
    person here: good enough to learn from, rough to measure by. ``measure`` is the clip's test block.
    """
    for found in clip_triplets(config):
        if isinstance(found, Triplet) and found.split == _SPLITS[part]:
            yield SeenImage(found.source, tuple(_persons(found.mask)))


def box_about(mask: Mask) -> Box:
    """The tight box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _persons(mask: Mask) -> Iterator[SeenObject]:
    labels, areas, boxes = label_regions(mask)
    for number in range(1, len(areas)):
        if areas[number] >= _MIN_FRACTION * mask.size / 3:
            yield SeenObject(PERSON, None, labels == number, Box(*(float(edge) for edge in boxes[number])))


def _hue_name(color: tuple[float, float, float]) -> str:
    return HUES[round(colorsys.rgb_to_hsv(*color)[0] * len(HUES)) % len(HUES)]


# What the tiny ground models learn from: studio images with each pixel's class and depth, and variants.

_EMPTY_EVERY = 3
"""One scene in so many has nothing on its ground."""
_MIN_CROP = 0.7
_MAX_NOISE = 10.0
_MAX_TINT = 0.15
"""How far each channel's gain is from 1, at most."""
_PITCHES = (0.05, 0.45)
"""Radians: half of the scenes to learn from are seen under these, so that horizons lie lower too."""

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True, eq=False)
class SeenSurfaces:
    """A square image and all that is true of its surfaces."""

    image: RgbImage
    """S×S×3 uint8."""
    classes: ClassMap
    """S×S uint8; of a mixed pixel, the class of its upper left quarter."""
    depth: Depth
    """S×S float32, metres along the view axis; inf = sky."""
    focal_px: float
    horizon: float
    """Row of the true horizon, often outside the image."""


def synthetic_surfaces(index: int, part: Part, size_px: int) -> SeenSurfaces:
    """Studio scene ``index``, empty one time in three: the same index and part, the same image.

    Args:
        index: From 0.
        part: Whose scenes; the two share none, and ``measure`` has the studio's own cameras only.
        size_px: Side of the image.
    """
    scene = _scene(index, part)
    rendering, focal = render(scene, size_px), focal_px(scene, size_px)
    return SeenSurfaces(
        image=rendering.image,
        classes=_surface_classes(rendering.classes, size_px),
        depth=along_axis(rendering.depth, focal),
        focal_px=focal,
        horizon=(size_px - 1) / 2 - float(np.tan(scene.camera_pitch)) * focal,
    )


def varied(seen: SeenSurfaces, flip: bool, rng: np.random.Generator) -> SeenSurfaces:
    """A variant for training: cropped, mirrored, in other light and colours, with noise.

    A crop is taken to be an image by the same lens from nearer, as its depths then are: no network can tell
    the two apart.
    """
    size = len(seen.image)
    side = int(rng.integers(round(_MIN_CROP * size), size + 1))
    top, left = (int(rng.integers(0, size - side + 1)) for _ in range(2))
    window = np.s_[top : top + side, left : left + side]
    step = -1 if flip else 1

    def cut(field: NDArray, how: int) -> NDArray:
        return np.asarray(cv2.resize(field[window], (size, size), interpolation=how))[:, ::step]

    return SeenSurfaces(
        image=_other_light(cut(seen.image, cv2.INTER_LINEAR), rng),
        classes=np.ascontiguousarray(cut(seen.classes, cv2.INTER_NEAREST)),
        depth=np.ascontiguousarray(cut(seen.depth, cv2.INTER_NEAREST)) * np.float32(side / size),
        focal_px=seen.focal_px,
        horizon=(seen.horizon + 0.5 - top) * size / side - 0.5,
    )


def varied_batches(
    images: Sequence[SeenSurfaces],
    batch_size: int,
    seed: int,
    collate: Callable[[list[SeenSurfaces]], Batch],
) -> Callable[[int, int, Sequence[slice]], Iterator[Batch]]:
    """Batches for ``train``: every image once an epoch, varied by draws known from the step alone."""

    def batches_from(start: int, stop: int, parts: Sequence[slice]) -> Iterator[Batch]:
        order = MixedBatches([range(len(images))], batch_size, seed, start, stop, parts)
        for number, draws in enumerate(order, start):
            rng = np.random.default_rng([seed, number])
            yield collate([varied(images[place], flip, rng) for place, flip in draws])

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


def _other_light(image: RgbImage, rng: np.random.Generator) -> RgbImage:
    jogged = jittered((image, image), rng)[0].astype(np.float32)
    tint = rng.uniform(1 - _MAX_TINT, 1 + _MAX_TINT, 3).astype(np.float32)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, _MAX_NOISE))
    return np.clip(np.rint(jogged * tint + noise), 0, 255).astype(np.uint8)
