"""Cut samples out of whole images: the limits of a sample, its square, its mask, and triplets."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.image_files import LIMIT_PIXELS, MaxPixels, RejectedImage
from tasks.sources.image_ops import Square, cut_image, cut_mask, square_about
from tasks.sources.mask_polarity import check_polarity
from tasks.sources.scenes import SceneChoice, TestFraction, ValidationFraction


class NamedRecord(Protocol):
    """What a source reads one sample from."""

    @property
    def name(self) -> str:
        """For people."""
        ...


Record = TypeVar("Record", bound=NamedRecord)


class SampleLimits(BaseModel):
    """The limits of a sample read from files. Sources add their own fields."""

    model_config = ConfigDict(frozen=True)

    size_px: int = Field(default=64, ge=16, le=2048, description="Side of the square samples, in pixels.")
    mask_area_min: float = Field(
        default=0.005, ge=0, le=1, description="Minimum masked fraction of a sample."
    )
    mask_area_max: float = Field(default=0.6, ge=0, le=1, description="Maximum masked fraction of a sample.")
    max_pixels: MaxPixels = LIMIT_PIXELS
    validation_fraction: ValidationFraction = 0.1
    test_fraction: TestFraction = 0.1

    @model_validator(mode="after")
    def _areas_are_in_order(self) -> "SampleLimits":
        if self.mask_area_min >= self.mask_area_max:
            raise ValueError("mask_area_min must be below mask_area_max")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeTriplet:
    """A triplet in the size of its files, and where it comes from."""

    source: RgbImage
    """H×W×3 uint8, like the ground truth."""
    mask: Mask
    """H×W bool."""
    ground_truth: RgbImage
    source_path: Path
    """For messages, like the next two."""
    mask_path: Path
    truth_path: Path
    origin: str
    """``kind:folder/name``."""
    lineage: str | None
    """The key of the scene or video that the source names."""


def cut_triplet(whole: WholeTriplet, kind: str, limits: SampleLimits, scenes: SceneChoice) -> Triplet:
    """The square about the mask as a triplet of ``limits.size_px``.

    Raises:
        RejectedImage: MASK_INVERTED, TOO_SMALL, MASK_EMPTY, MASK_FULL, MASK_AREA or TWO_SPLITS.
    """
    check_polarity(whole.mask_path, whole.source, whole.mask, whole.ground_truth)
    square = sample_square(whole.source_path, whole.source, whole.mask, limits)
    source = cut_image(whole.source, square, limits.size_px)
    ground_truth = cut_image(whole.ground_truth, square, limits.size_px)
    mask = sample_mask(whole.mask_path, whole.mask, square, limits)
    scene, split = scenes(whole.truth_path, whole.ground_truth, limits, whole.lineage)
    return Triplet(
        key=derive_key(kind, source, mask, ground_truth),
        scene=scene,
        split=split,
        origin=whole.origin,
        source=source,
        mask=mask,
        ground_truth=ground_truth,
    )


def triplets_of(
    records: Iterable[Record | Reject], kind: str, triplet_of: Callable[[Record], Triplet]
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each record. A record that is refused does not stop the others.

    Args:
        records: Rejects are passed on.
        kind: Names the source of the rejects.
        triplet_of: Reads one record.
    """
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield triplet_of(record)
        except RejectedImage as error:
            yield error.as_reject(kind, record.name)


def sample_square(path: Path, image: RgbImage, mask: Mask, limits: SampleLimits) -> Square:
    """The square around the mask that becomes the sample.

    Raises:
        RejectedImage: TOO_SMALL, because an enlarged image teaches blur.
    """
    height, width = image.shape[:2]
    if min(height, width) < limits.size_px:
        detail = f"{width}×{height}, and both sides must have {limits.size_px} px"
        raise RejectedImage(path, RejectReason.TOO_SMALL, detail)
    return square_about(mask)


def sample_mask(path: Path, mask: Mask, square: Square, limits: SampleLimits) -> Mask:
    """The sample's mask, size_px×size_px bool.

    Raises:
        RejectedImage: MASK_EMPTY, MASK_FULL or MASK_AREA, after the cut and the reduction.
    """
    small = cut_mask(mask, square, limits.size_px)
    if not small.any():
        raise RejectedImage(path, RejectReason.MASK_EMPTY, "once reduced to the sample's size")
    if small.all():
        raise RejectedImage(path, RejectReason.MASK_FULL, "once cut to a square")
    if not limits.mask_area_min <= small.mean() <= limits.mask_area_max:
        raise RejectedImage(path, RejectReason.MASK_AREA, f"{small.mean():.2%} of the sample")
    return small
