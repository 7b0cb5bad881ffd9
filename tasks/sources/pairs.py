"""Read image pairs: from a folder, from a clip's triplets, or from synthetic samples without their truth."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_specs.arrays import RgbImage
from data_specs.captured_pair import ImagePair
from data_specs.keys import derive_key
from data_specs.reject import Reject
from data_specs.triplet import Triplet
from tasks.sources.clip.clip import ClipConfig, clip_triplets
from tasks.sources.image_files import (
    LIMIT_PIXELS,
    MaxPixels,
    RejectedImage,
    check_same_size,
    path_inside,
    read_image,
)
from tasks.sources.scenes import TestFraction, ValidationFraction, by_pixels, sequence_of
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample
from tasks.sources.triplet_files import StemFiles, files_of_stems

PAIR_PARTS = ("source", "ground_truth")


class ImageLimits(BaseModel):
    """The limits of images read from files, and the assumptions about their camera."""

    model_config = ConfigDict(frozen=True)

    path: Path = Field(description="The folder.")
    max_pixels: MaxPixels = LIMIT_PIXELS
    focal_fraction: float = Field(
        default=1.0,
        gt=0,
        le=20,
        description="Focal length divided by the longer side, for an unknown camera. 1 is a phone's.",
    )
    validation_fraction: ValidationFraction = 0.1
    test_fraction: TestFraction = 0.1

    @field_validator("path")
    @classmethod
    def _wherever_one_stands(cls, path: Path) -> Path:
        return path.expanduser().resolve()


class FolderPairs(ImageLimits):
    """A folder with source/ and ground_truth/. Files with the same stem belong together."""

    kind: Literal["folder"] = "folder"
    longer_side_px: int = Field(
        default=512,
        ge=64,
        le=4096,
        description="Maximum longer side, in pixels. Larger pairs are reduced to it.",
    )


class ClipPairs(BaseModel):
    """A fixed-camera video: its frames, and the background behind what moves."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["clip"] = "clip"
    clip: ClipConfig = Field(
        default=ClipConfig(size_px=128, crop_min_px=128, crop_max_px=192), description="Settings of the clip."
    )
    focal_fraction: float = Field(
        default=4.0,
        gt=0,
        le=40,
        description="Focal length divided by the side of a crop. A crop has a narrow angle of view.",
    )


class SyntheticPairs(BaseModel):
    """Synthetic samples, as plain images or with their exact truth."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["synthetic"] = "synthetic"
    renderer: SyntheticConfig = Field(
        default=SyntheticConfig(size_px=128), description="Settings of the renderer."
    )
    count: int = Field(default=200, ge=1, le=10_000_000, description="Number of pairs.")
    use_rendered_truth: bool = Field(
        default=False,
        description="Whether to use the exact masks, ground and depth of the renderer. Otherwise "
        "perception estimates them. For tests and measurements.",
    )


PairSource = Annotated[FolderPairs | ClipPairs | SyntheticPairs, Field(discriminator="kind")]


def count_pairs(source: PairSource) -> int | None:
    """The number of pairs and rejects that a source gives. None if only reading it tells.

    Raises:
        InputError: If the folder or one of its two parts is missing.
    """
    if isinstance(source, SyntheticPairs):
        return source.count
    return len(list(files_of_stems(source.path, PAIR_PARTS))) if isinstance(source, FolderPairs) else None


def read_pairs(source: PairSource, first: int = 0, count: int | None = None) -> Iterator[ImagePair | Reject]:
    """Pairs ``first`` to ``first + count`` of a source (None: all the rest), including rejects.

    Raises:
        InputError: If the source cannot be read at all.
    """
    if isinstance(source, SyntheticPairs):
        return (_pair_of_sample(source.renderer, number) for number in numbers_of(source, first, count))
    stop = None if count is None else first + count
    if isinstance(source, FolderPairs):
        records = islice(files_of_stems(source.path, PAIR_PARTS), first, stop)
        return (record if isinstance(record, Reject) else _of_files(record, source) for record in records)
    triplets = islice(clip_triplets(source.clip), first, stop)
    return (triplet if isinstance(triplet, Reject) else _of_triplet(triplet, source) for triplet in triplets)


def numbers_of(source: SyntheticPairs, first: int, count: int | None) -> range:
    """The numbers of samples ``first`` to ``first + count``, as far as they exist."""
    return range(first, source.count if count is None else min(source.count, first + count))


def reduced(image: RgbImage, longer_side_px: int) -> RgbImage:
    """H×W×3 uint8, reduced until the longer side has at most this number of pixels."""
    scale = longer_side_px / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _pair_of_sample(config: SyntheticConfig, number: int) -> ImagePair:
    rendered = make_sample(config, number)
    return ImagePair(
        key=rendered.key,
        scene=rendered.scene,
        split=config.split,
        origin=rendered.origin,
        source=rendered.source,
        ground_truth=rendered.ground_truth,
        focal_px=rendered.focal_px,
    )


def _of_files(files: StemFiles, source: FolderPairs) -> ImagePair | Reject:
    try:
        paths = [path_inside(source.path, files.names[part], PAIR_PARTS) for part in PAIR_PARTS]
        with_object, without = (read_image(path, max_pixels=source.max_pixels) for path in paths)
        check_same_size(paths[1], without.shape[:2], with_object.shape[:2])
    except RejectedImage as error:
        return error.as_reject("pairs", files.stem)
    scene, split = by_pixels(
        paths[1], without, source, sequence_of("pairs", source.path, files.names["ground_truth"])
    )
    with_object, without = (reduced(image, source.longer_side_px) for image in (with_object, without))
    return ImagePair(
        key=derive_key("pair", with_object, without),
        scene=scene,
        split=split,
        origin=f"folder:{source.path.name}/{files.stem}",
        source=with_object,
        ground_truth=without,
        focal_px=source.focal_fraction * max(with_object.shape[:2]),
    )


def _of_triplet(triplet: Triplet, source: ClipPairs) -> ImagePair:
    return ImagePair(
        key=derive_key("pair", triplet.key),
        scene=triplet.scene,
        split=triplet.split,
        origin=triplet.origin,
        source=triplet.source,
        ground_truth=triplet.ground_truth,
        focal_px=source.focal_fraction * source.clip.size_px,
    )
