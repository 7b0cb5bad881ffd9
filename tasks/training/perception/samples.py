"""Make samples for the tiny perception models: images with classes, colours, masks, boxes, depth."""

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
"""The classes: the synthetic solids, and the people in the sample clip."""
WORLD = World(grounds="mixed", gloss_fraction=0.1, max_objects=5, apart=False)
"""Scenes of up to five solids that may hide each other, on every kind of synthetic ground."""

CLIP_SQUARES = ClipConfig(size_px=128, crop_min_px=128, crop_max_px=288, mask_area_min=0.003)
"""The sample clip's people, from the size of the whole square down to an eighth of its side."""

Part = Literal["train", "measure"]
"""Scenes for training, or scenes that no training of the project sees."""

_MIN_FRACTION = 0.003
"""A fraction of the image. An object that shows less than this is not counted."""
_SIZES_PX = (64, 128, 192)
_SPLITS: dict[Part, Split] = {"train": "train", "measure": "test"}


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject:
    """One object as an image shows it."""

    class_name: str
    """One of CLASSES."""
    color: str | None
    """For a solid, the nearest of HUES to its albedo. None for a person."""
    mask: Mask
    """H×W bool: the visible part."""
    box: Box
    """The tight box around the mask."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """An image with all its objects."""

    source: RgbImage
    """H×W×3 uint8."""
    objects: tuple[SeenObject, ...]
    """May be empty."""


def synthetic_image(index: int, part: Part, size_px: int | None = None) -> SeenImage:
    """Synthetic scene ``index`` with exact boxes and masks. The same index and part give the same image.

    Args:
        index: From 0.
        part: Training or measuring. The two share no scene.
        size_px: Side of the square image. None = 64, 128 or 192, depending on the index.
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
    """Squares of a clip with what moves in them. Everything that moves counts as a person.

    The masks are the change against the clean plate, not hand-drawn, and people who touch are one person
    here. This is good enough for training and rough for measuring. ``measure`` is the clip's test block.
    """
    for sample in clip_triplets(config):
        if isinstance(sample, Triplet) and sample.split == _SPLITS[part]:
            yield SeenImage(sample.source, tuple(_persons(sample.mask)))


def box_about(mask: Mask) -> Box:
    """The tight box of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _persons(mask: Mask) -> Iterator[SeenObject]:
    labels, areas, boxes = label_regions(mask)
    for number in range(1, len(areas)):
        if areas[number] >= _MIN_FRACTION * mask.size / 3:
            yield SeenObject(PERSON, None, labels == number, Box(*(float(edge) for edge in boxes[number])))


def _hue_name(color: tuple[float, float, float]) -> str:
    return HUES[round(colorsys.rgb_to_hsv(*color)[0] * len(HUES)) % len(HUES)]


# Training samples for the tiny ground models: synthetic images with each pixel's class and depth.

_EMPTY_EVERY = 3
"""One scene in this number has nothing on its ground."""
_MIN_CROP = 0.7
_MAX_NOISE = 10.0
_MAX_TINT = 0.15
"""The largest deviation of each channel's gain from 1."""
_PITCHES = (0.05, 0.45)
"""Radians: half of the training scenes have a pitch in this range, so that horizons lie lower too."""

Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True, eq=False)
class SeenSurfaces:
    """A square image with the truth about its surfaces."""

    image: RgbImage
    """S×S×3 uint8."""
    classes: ClassMap
    """S×S uint8. For a mixed pixel, the class of its upper left quarter."""
    depth: Depth
    """S×S float32, metres along the view axis. Inf = sky."""
    focal_px: float
    horizon: float
    """Row of the true horizon, often outside the image."""


def synthetic_surfaces(index: int, part: Part, size_px: int) -> SeenSurfaces:
    """Synthetic scene ``index``, empty one time in three. The same index and part give the same image.

    Args:
        index: From 0.
        part: Training or measuring. The two share no scene. ``measure`` uses only the renderer's own cameras.
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
    """A variant for training: cropped, mirrored, with other light and colours, and with noise.

    A crop counts as an image from the same lens at a shorter distance, and gets those depths. No network can
    distinguish the two.
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
    """Batches for ``train``: every image once an epoch. The variations follow from the step alone."""

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
