"""Make high-resolution triplets: paste objects on clean photographs, such as DIV2K and Flickr2K.

How RORem's last stage makes pairs of them is NOT PUBLISHED (papers.md, fact 4). Here an object from another
image is pasted without a shadow. The photograph is the ground truth (papers.md, fact 22, SmartEraser).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.errors import InputError
from data_specs.keys import Split, derive_key, image_hash, split_of_scene
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.image_files import (
    LIMIT_PIXELS,
    MaxPixels,
    RejectedImage,
    images_in,
    path_inside,
    read_image,
)
from tasks.sources.image_ops import Square, cut_image
from tasks.sources.paste_objects import PasteObject, list_objects
from tasks.sources.samples import triplets_of
from tasks.sources.scenes import SceneChoice, TestFraction, ValidationFraction, by_pixels, sequence_of

# Paste an object on an image: cut it out, reduce it, place it, and soften its edge.

_EDGE_SIGMA_PX = 0.7
"""Blur of a pasted object's edge. A perfectly sharp edge would give it away."""
_MARGIN_PX = 3
"""Space around the object for that blur."""
_MIN_ALPHA = 1 / 255
"""Weaker pixels are dropped. The mask then covers every pixel that changes."""


@dataclass(frozen=True, slots=True, eq=False)
class CutObject:
    """An object cut out of its image, with an empty margin around it."""

    light: NDArray[np.float32]
    """h×w×3: grey levels times alpha. When it is resized, no colour of the old background gets in."""
    alpha: Alpha
    """h×w float32, [0, 1]."""


def cut_object(image: RgbImage, mask: Mask) -> CutObject:
    """Cut out what the mask marks, without its outermost pixel, where the old background shows.

    Args:
        image: H×W×3 uint8.
        mask: H×W bool, not empty.
    """
    wide = np.pad(mask, _MARGIN_PX).astype(np.uint8)
    inner = cv2.erode(wide, np.ones((3, 3), np.uint8))
    kept = inner if inner.any() else wide
    room = (_MARGIN_PX, _MARGIN_PX)
    left, top, width, height = cv2.boundingRect(kept)
    rows = slice(top - _MARGIN_PX, top + height + _MARGIN_PX)
    columns = slice(left - _MARGIN_PX, left + width + _MARGIN_PX)
    alpha = kept[rows, columns].astype(np.float32)
    return CutObject(np.pad(image, (room, room, (0, 0)))[rows, columns] * alpha[..., None], alpha)


def reduced_object(cut: CutObject, area_px: float) -> CutObject | None:
    """The object with about ``area_px`` pixels. None if it would have to be enlarged."""
    scale = float(np.sqrt(area_px / cut.alpha.sum()))
    if scale > 1:
        return None
    height, width = (max(2 * _MARGIN_PX + 1, round(side * scale)) for side in cut.alpha.shape)
    light, alpha = (
        np.asarray(cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA), np.float32)
        for layer in (cut.light, cut.alpha)
    )
    return CutObject(light, alpha)


def paste(ground: RgbImage, cut: CutObject, top: int, left: int) -> tuple[RgbImage, Mask]:
    """Paste the object on the ground.

    Args:
        ground: H×W×3 uint8. It is unchanged outside the mask, to the bit.
        cut: The object. It must lie inside the ground.
        top: Row of its upper left corner.
        left: Column of its upper left corner.

    Returns:
        The image with the object, H×W×3 uint8, and the mask of what it covers, H×W bool.
    """
    height, width = cut.alpha.shape
    box = np.s_[top : top + height, left : left + width]
    light, alpha = (
        cv2.GaussianBlur(layer, (0, 0), _EDGE_SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
        for layer in (cut.light, cut.alpha)
    )
    image, mask = ground.copy(), np.zeros(ground.shape[:2], bool)
    mask[box] = alpha >= _MIN_ALPHA
    blended = np.round(light + (1 - alpha[..., None]) * ground[box]).clip(0, 255).astype(np.uint8)
    image[box] = np.where(mask[box][..., None], blended, ground[box])
    return image, mask


KIND = "high_resolution"
IMAGES, OBJECTS = "images", "objects"
"""The folder's parts: clean photographs, and objects as images with masks."""
_PUBLISHED = (
    "DIV2K_train_HR",
    "DIV2K_valid_HR",
    "DIV2K/DIV2K_train_HR",
    "DIV2K/DIV2K_valid_HR",
    "Flickr2K",
    "Flickr2K_HR",
    "Flickr2K/Flickr2K_HR",
    "",
)
"""Where DIV2K and Flickr2K have their photographs, below the folder that holds them. Or it is their own."""
_TRIES = 10
"""Number of objects tried for an image (papers.md, fact 22)."""


class HighResolutionConfig(BaseModel):
    """How photographs become triplets of their own size."""

    model_config = ConfigDict(frozen=True)

    path: Path = Field(
        description="The folder with images/ and objects/, or one with DIV2K or Flickr2K as downloaded."
    )
    objects: Path | None = Field(
        default=None,
        description="The folder of objects to paste: source/ and mask/, COCO with instances_*.json, or "
        "SA-1B with sa_*.json. Default: objects/ in the folder.",
    )
    sizes_px: tuple[int, ...] = Field(
        default=(512, 1024),
        min_length=1,
        max_length=8,
        description="Sides of the square samples, in pixels. Each image gets the largest side that it fills.",
    )
    object_area_min: float = Field(
        default=0.02, gt=0, lt=1, description="Minimum area of an object, as a fraction of the sample."
    )
    object_area_max: float = Field(
        default=0.2, gt=0, lt=1, description="Maximum area of an object, as a fraction of the sample."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the objects and their places.")
    max_pixels: MaxPixels = LIMIT_PIXELS
    validation_fraction: ValidationFraction = 0.1
    test_fraction: TestFraction = 0.1

    @model_validator(mode="after")
    def _is_in_order(self) -> "HighResolutionConfig":
        if any(not 16 <= size <= 4096 for size in self.sizes_px):
            raise ValueError("sizes_px must lie between 16 and 4096")
        if self.object_area_min > self.object_area_max:
            raise ValueError("object_area_min must not be above object_area_max")
        return self


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph. Nothing has been opened."""

    name: str
    """Its path below the folder, without ``images/``."""
    file: str
    """Its path below the folder."""


def list_photographs(config: HighResolutionConfig) -> list[Photograph]:
    """The photographs, in the order of their names.

    Raises:
        InputError: As ``photograph_folders``.
    """
    return [
        Photograph(name_of(config.path, path), str(path.relative_to(config.path)))
        for path in photographs_in(config.path)
    ]


def high_resolution_triplets(
    config: HighResolutionConfig,
    records: Iterable[Photograph | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each photograph.

    Args:
        config: What to read.
        records: Some of ``list_photographs``. None: all.
        scenes: Chooses the scene of each photograph.

    Raises:
        InputError: If the folder or one of its parts is missing.
    """
    photographs = list_photographs(config) if records is None else records
    objects = _objects_by_split(config)
    return triplets_of(photographs, KIND, lambda photograph: _triplet(photograph, objects, config, scenes))


def _objects_by_split(config: HighResolutionConfig) -> dict[Split, list[PasteObject]]:
    objects: dict[Split, list[PasteObject]] = {"train": [], "validation": [], "test": []}
    for candidate in list_objects(objects_folder(config), config.max_pixels)[0]:
        objects[_split_of(candidate, config)].append(candidate)
    return objects


def objects_folder(config: HighResolutionConfig) -> Path:
    """The folder of the objects to paste."""
    return config.path / OBJECTS if config.objects is None else config.objects.expanduser().resolve()


def photograph_folders(root: Path) -> list[str]:
    """The folders of photographs below the root: ``images``, or those of DIV2K and Flickr2K.

    Raises:
        InputError: If there is none.
    """
    if (root / IMAGES).is_dir():
        return [IMAGES]
    folders = [name for name in _PUBLISHED if (root / name).is_dir() and images_in(root / name)]
    if not folders:
        fault = f"holds no folder {IMAGES}/, no DIV2K_train_HR/ and no Flickr2K/ with JPEG or PNG files"
        raise InputError(root, f"{fault}; name another folder")
    return folders


def photographs_in(root: Path) -> list[Path]:
    """The photographs, in order of their folders and names.

    Raises:
        InputError: As ``photograph_folders``.
    """
    return [path for folder in photograph_folders(root) for path in images_in(root / folder)]


def name_of(root: Path, path: Path) -> str:
    """A photograph's name: its path below the root, without ``images/``."""
    return str(path.relative_to(root)).removeprefix(f"{IMAGES}/")


def _triplet(
    photograph: Photograph,
    objects: Mapping[Split, Sequence[PasteObject]],
    config: HighResolutionConfig,
    scenes: SceneChoice,
) -> Triplet:
    path, name = config.path / photograph.file, photograph.name
    inside = path_inside(config.path, photograph.file, linked_folders())
    whole = read_image(inside, max_pixels=config.max_pixels)
    size_px = _largest_size(path, whole, config)
    identity = image_hash(whole)
    scene, split = scenes(path, whole, config, sequence_of(KIND, config.path, name))
    rng = np.random.default_rng(int(derive_key("pasted", identity, config.seed)[:15], 16))
    ground_truth = cut_image(whole, _square(whole, rng), size_px)
    stem, cut = _object_that_fits(path, objects[split], split, size_px, config, rng)
    height, width = cut.alpha.shape
    top, left = (int(rng.integers(0, size_px - side + 1)) for side in (height, width))
    source, mask = paste(ground_truth, cut, top, left)
    return Triplet(
        key=derive_key(KIND, source, mask, ground_truth),
        scene=scene,
        split=split,
        origin=f"{KIND}:{config.path.name}/{name}+{stem}",
        source=source,
        mask=mask,
        ground_truth=ground_truth,
    )


def linked_folders() -> tuple[str, ...]:
    """The folders directly in the root that may be links to elsewhere."""
    return (IMAGES, *(name for name in _PUBLISHED if name and "/" not in name))


def _largest_size(path: Path, image: RgbImage, config: HighResolutionConfig) -> int:
    height, width = image.shape[:2]
    fitting = [size for size in config.sizes_px if size <= min(height, width)]
    if not fitting:
        detail = f"{width}×{height}, and both sides must have {min(config.sizes_px)} px"
        raise RejectedImage(path, RejectReason.TOO_SMALL, detail)
    return max(fitting)


def _square(image: RgbImage, rng: np.random.Generator) -> Square:
    """A square with the whole short side, at a random position along the long side."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    return Square(left=left, top=top, side=side)


def _object_that_fits(
    path: Path,
    own: Sequence[PasteObject],
    split: Split,
    size_px: int,
    config: HighResolutionConfig,
    rng: np.random.Generator,
) -> tuple[str, CutObject]:
    """One of the objects of the image's own split. No object is then seen in training and in testing.

    Raises:
        RejectedImage: NO_OBJECT if none fits.
    """
    for place in rng.permutation(len(own))[:_TRIES]:
        area_px = rng.uniform(config.object_area_min, config.object_area_max) * size_px**2
        cut = _read_object(own[place], area_px)
        if cut is not None and max(cut.alpha.shape) <= size_px:
            return own[place].name, cut
    detail = f"none of {len(own)} for the {split} split is whole and large enough for {size_px} px"
    raise RejectedImage(path, RejectReason.NO_OBJECT, detail)


def _split_of(candidate: PasteObject, config: HighResolutionConfig) -> Split:
    """The split, from the object's name. Its image need not be opened."""
    scene = derive_key("pasted object", candidate.group)
    return split_of_scene(scene, validation=config.validation_fraction, test=config.test_fraction)


def _read_object(candidate: PasteObject, area_px: float) -> CutObject | None:
    """The object with this number of pixels. None if it is refused, cut by the border, or too small."""
    try:
        image, mask = candidate.read()
    except RejectedImage:
        return None
    if not mask.any() or mask[[0, -1]].any() or mask[:, [0, -1]].any():
        return None
    return reduced_object(cut_object(image, mask), area_px)
