"""High-resolution source: clean photographs as DIV2K and Flickr2K have them, made into triplets by pasting.

How RORem's last stage makes pairs of them is NOT PUBLISHED (papers.md, fact 4). Here an object from
elsewhere is pasted, without a shadow; the photograph is the ground truth (fact 22, SmartEraser).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import RgbImage
from data_specs.errors import InputError
from data_specs.keys import Split, derive_key, picture_hash, split_of_scene
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.backgrounds import pictures_in
from tasks.sources.folder import StemFiles, files_of_stems
from tasks.sources.image_files import (
    LIMIT_PIXELS,
    RejectedPicture,
    check_same_size,
    path_inside,
    read_mask,
    read_picture,
)
from tasks.sources.pasted_object import CutObject, cut_object, paste, reduced_object
from tasks.sources.scene_choice import SceneChoice, by_pixels, film_of
from tasks.sources.squares import Square, cut_picture

KIND = "high_resolution"
PICTURES, OBJECTS, OBJECT_PARTS = "pictures", "objects", ("source", "mask")
"""The folder's parts: clean photographs, and objects as pictures with masks."""
_TRIES = 10
"""Objects tried for a picture (fact 22)."""


class HighResolutionConfig(BaseModel):
    """How photographs become triplets of their own size."""

    model_config = ConfigDict(frozen=True)

    path: Path = Field(
        description="The folder that holds pictures/, and objects/ with source/ and mask/: what is pasted."
    )
    sizes_px: tuple[int, ...] = Field(
        default=(512, 1024),
        min_length=1,
        max_length=8,
        description="Sides of the square samples; a picture gets the largest it fills.",
    )
    object_area_min: float = Field(
        default=0.02, gt=0, lt=1, description="An object's smallest share of the sample."
    )
    object_area_max: float = Field(default=0.2, gt=0, lt=1, description="Its largest.")
    seed: int = Field(default=0, ge=0, description="Another seed, other objects at other places.")
    limit_pixels: int = Field(
        default=LIMIT_PIXELS, ge=1, le=1_000_000_000, description="Pictures of more pixels are not decoded."
    )
    validation_share: float = Field(default=0.1, ge=0, le=0.5, description="Share of scenes for validation.")
    test_share: float = Field(default=0.1, ge=0, le=0.5, description="Share of scenes for testing.")

    @model_validator(mode="after")
    def _is_in_order(self) -> "HighResolutionConfig":
        if any(not 16 <= size <= 4096 for size in self.sizes_px):
            raise ValueError("sizes_px must lie between 16 and 4096")
        if self.object_area_min > self.object_area_max:
            raise ValueError("object_area_min must not be above object_area_max")
        return self


def high_resolution_triplets(
    config: HighResolutionConfig, start: int = 0, scenes: SceneChoice = by_pixels
) -> Iterator[Triplet | Reject]:
    """One triplet or reject a picture, in the order of their names.

    Args:
        config: What to read.
        start: Pictures to pass over, unopened.
        scenes: Chooses each picture's scene.

    Raises:
        InputError: When the folder or one of its parts is missing.
    """
    pictures = config.path / PICTURES
    if not pictures.is_dir():
        raise InputError(config.path, f"it holds no folder {PICTURES}/")
    records = files_of_stems(config.path / OBJECTS, OBJECT_PARTS)
    objects = [each for each in records if isinstance(each, StemFiles)]
    for path in islice(pictures_in(pictures), start, None):
        try:
            yield _triplet(path, objects, config, scenes)
        except RejectedPicture as error:
            yield error.as_reject(KIND, path.name)


def _triplet(
    path: Path, objects: Sequence[StemFiles], config: HighResolutionConfig, scenes: SceneChoice
) -> Triplet:
    whole = read_picture(
        path_inside(config.path, f"{PICTURES}/{path.name}", (PICTURES,)), limit_pixels=config.limit_pixels
    )
    size_px = _largest_size(path, whole, config)
    identity = picture_hash(whole)
    scene, split = scenes(path, whole, config, film_of(KIND, config.path, path.name))
    rng = np.random.default_rng(int(derive_key("pasted", identity, config.seed)[:15], 16))
    ground_truth = cut_picture(whole, _square(whole, rng), size_px)
    stem, cut = _object_that_fits(path, objects, split, size_px, config, rng)
    height, width = cut.alpha.shape
    top, left = (int(rng.integers(0, size_px - side + 1)) for side in (height, width))
    source, mask = paste(ground_truth, cut, top, left)
    return Triplet(
        key=derive_key(KIND, source, mask, ground_truth),
        scene=scene,
        split=split,
        origin=f"{KIND}:{config.path.name}/{path.name}+{stem}",
        source=source,
        mask=mask,
        ground_truth=ground_truth,
    )


def _largest_size(path: Path, picture: RgbImage, config: HighResolutionConfig) -> int:
    height, width = picture.shape[:2]
    fitting = [size for size in config.sizes_px if size <= min(height, width)]
    if not fitting:
        detail = f"{width}×{height} where {min(config.sizes_px)} is wanted"
        raise RejectedPicture(path, RejectReason.TOO_SMALL, detail)
    return max(fitting)


def _square(picture: RgbImage, rng: np.random.Generator) -> Square:
    """The whole short side, anywhere along the long one."""
    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    return Square(left=left, top=top, side=side)


def _object_that_fits(
    path: Path,
    objects: Sequence[StemFiles],
    split: Split,
    size_px: int,
    config: HighResolutionConfig,
    rng: np.random.Generator,
) -> tuple[str, CutObject]:
    """An object of the picture's own split, so that none is seen in training and in testing.

    Raises:
        RejectedPicture: NO_OBJECT.
    """
    own = [each for each in objects if _split_of(each, config) == split]
    for place in rng.permutation(len(own))[:_TRIES]:
        area_px = rng.uniform(config.object_area_min, config.object_area_max) * size_px**2
        cut = _read_object(own[place], area_px, config)
        if cut is not None and max(cut.alpha.shape) <= size_px:
            return own[place].stem, cut
    detail = f"of {len(own)} for the {split} split, none is whole and large enough for {size_px} px"
    raise RejectedPicture(path, RejectReason.NO_OBJECT, detail)


def _split_of(files: StemFiles, config: HighResolutionConfig) -> Split:
    """By the object's name: its picture need not be opened."""
    scene = derive_key("pasted object", files.stem)
    return split_of_scene(scene, validation=config.validation_share, test=config.test_share)


def _read_object(files: StemFiles, area_px: float, config: HighResolutionConfig) -> CutObject | None:
    """The object with so many pixels; None if its files are refused, it is cut by the border, or smaller."""
    root = config.path / OBJECTS
    try:
        paths = [path_inside(root, files.names[part], OBJECT_PARTS) for part in OBJECT_PARTS]
        picture = read_picture(paths[0], limit_pixels=config.limit_pixels)
        mask = read_mask(paths[1], limit_pixels=config.limit_pixels)
        check_same_size(paths[1], mask.shape, picture.shape[:2])
    except RejectedPicture:
        return None
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        return None
    return reduced_object(cut_object(picture, mask), area_px)
