"""What the tiny perception models learn from: pictures with each object's class, colour, mask and box."""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_specs.arrays import Mask, RgbImage
from data_specs.detection import Box
from data_specs.keys import Split, derive_key
from data_specs.triplet import Triplet
from tasks.objectclear.train_image_encoder import HUES
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.image_ops import label_regions
from tasks.sources.synthetic.render import all_solids, coverage, expose, look, rendering_of
from tasks.sources.synthetic.scene import SHAPES, World, draw_scene

PERSON = "person"
CLASSES = (*SHAPES, PERSON)
"""What there is to find: the studio's solids, and who walks through the sample clip."""
WORLD = World(grounds="mixed", gloss_share=0.1, max_objects=5, apart=False)
"""Scenes of up to five solids that may hide one another, on every ground the studio has."""

CLIP_SQUARES = ClipConfig(size_px=128, crop_min_px=128, crop_max_px=288, mask_area_min=0.003)
"""The sample clip's people, from the whole of a square down to an eighth of its side."""

Part = Literal["train", "measure"]
"""Scenes to learn from, or scenes that no training of the project sees."""

_LEAST_SHARE = 0.003
"""Of the picture: whatever shows less than this is nobody's object."""
_SIZES_PX = (64, 128, 192)
_SPLITS: dict[Part, Split] = {"train": "train", "measure": "test"}


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject:
    """One object as a picture shows it."""

    class_name: str
    """One of CLASSES."""
    color: str | None
    """Of a solid: the nearest of HUES to its albedo. None: a person."""
    mask: Mask
    """H×W bool: the visible part."""
    box: Box
    """About the mask, tight."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenPicture:
    """A picture and all that is to be found in it."""

    source: RgbImage
    """H×W×3 uint8."""
    objects: tuple[SeenObject, ...]
    """May be none."""


def studio_picture(index: int, part: Part, size_px: int | None = None) -> SeenPicture:
    """Studio scene ``index`` with exact boxes and masks: the same index and part, the same picture.

    Args:
        index: From 0.
        part: Whose scenes; the two share none.
        size_px: Side of the square picture; None = 64, 128 or 192, by the index.
    """
    side = size_px or _SIZES_PX[index % len(_SIZES_PX)]
    scene = draw_scene(int(derive_key("perception", part, index)[:15], 16), WORLD)
    sight = look(scene, side)
    rendering = rendering_of(sight, expose(sight, all_solids(scene)))
    objects: list[SeenObject] = []
    for number, solid in enumerate(scene.solids):
        mask = coverage(rendering.classes, number, side) >= 0.5
        if mask.mean() >= _LEAST_SHARE:
            objects.append(SeenObject(solid.shape, _hue_name(solid.color), mask, box_about(mask)))
    return SeenPicture(rendering.picture, tuple(objects))


def clip_pictures(part: Part, config: ClipConfig = CLIP_SQUARES) -> Iterator[SeenPicture]:
    """Squares of a clip with what moves in them, all of it taken for persons.

    The masks are change against the clean plate, not somebody's drawing, and people who touch are one
    person here: good enough to learn from, rough to measure by. ``measure`` is the clip's test block.
    """
    for found in clip_triplets(config):
        if isinstance(found, Triplet) and found.split == _SPLITS[part]:
            yield SeenPicture(found.source, tuple(_persons(found.mask)))


def box_about(mask: Mask) -> Box:
    """The tight box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _persons(mask: Mask) -> Iterator[SeenObject]:
    labels, areas, boxes = label_regions(mask)
    for number in range(1, len(areas)):
        if areas[number] >= _LEAST_SHARE * mask.size / 3:
            yield SeenObject(PERSON, None, labels == number, Box(*(float(edge) for edge in boxes[number])))


def _hue_name(color: tuple[float, float, float]) -> str:
    return HUES[round(colorsys.rgb_to_hsv(*color)[0] * len(HUES)) % len(HUES)]
