"""Three files become one triplet: what plain folders and ``meta.json`` share."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.image_files import (
    LIMIT_PIXELS,
    RejectedPicture,
    check_same_size,
    path_inside,
    read_mask,
    read_picture,
)
from tasks.sources.scene_choice import SceneChoice, film_of
from tasks.sources.squares import Square, cut_mask, cut_picture, square_about


class SampleLimits(BaseModel):
    """What a sample read from files may be; sources add their own fields."""

    model_config = ConfigDict(frozen=True)

    size_px: int = Field(default=64, ge=16, le=2048, description="Side of the square samples, in pixels.")
    mask_area_min: float = Field(default=0.005, ge=0, le=1, description="Smallest masked share of a sample.")
    mask_area_max: float = Field(default=0.6, ge=0, le=1, description="Largest masked share of a sample.")
    limit_pixels: int = Field(
        default=LIMIT_PIXELS, ge=1, le=1_000_000_000, description="Pictures of more pixels are not decoded."
    )
    validation_share: float = Field(default=0.1, ge=0, le=0.5, description="Share of scenes for validation.")
    test_share: float = Field(default=0.1, ge=0, le=0.5, description="Share of scenes for testing.")

    @model_validator(mode="after")
    def _areas_are_in_order(self) -> "SampleLimits":
        if self.mask_area_min >= self.mask_area_max:
            raise ValueError("mask_area_min must be below mask_area_max")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class TripletFiles:
    """Where one triplet lies, as a folder or a record names it; nothing has been opened."""

    name: str
    """For people: the stem, or the record's number."""
    source: str
    """Relative to the root, as are the next two."""
    mask: str
    ground_truth: str
    scene: str | None
    """The scene as the record names it; None: triplets of one film or of near ground truths are one."""


def read_triplets(
    records: Iterable[TripletFiles | Reject],
    *,
    root: Path,
    kind: str,
    limits: SampleLimits,
    parts: Collection[str],
    scenes: SceneChoice,
) -> Iterator[Triplet | Reject]:
    """Read what ``records`` name; a record that fails becomes a reject and the next one is read.

    Args:
        records: In the order wanted.
        root: The folder none of them may leave.
        kind: The source's name, for origins and rejects.
        limits: Size and areas.
        parts: The folders directly in ``root`` that may be links to elsewhere.
        scenes: Chooses each ground truth's scene.
    """
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        try:
            yield _read_triplet(record, root, kind, limits, parts, scenes)
        except RejectedPicture as error:
            yield error.as_reject(kind, record.name)


def _read_triplet(
    record: TripletFiles,
    root: Path,
    kind: str,
    limits: SampleLimits,
    parts: Collection[str],
    scenes: SceneChoice,
) -> Triplet:
    source_path, mask_path, truth_path = (
        path_inside(root, name, parts) for name in (record.source, record.mask, record.ground_truth)
    )
    source = read_picture(source_path, limit_pixels=limits.limit_pixels)
    mask = read_mask(mask_path, limit_pixels=limits.limit_pixels)
    check_same_size(mask_path, mask.shape, source.shape[:2])
    ground_truth = read_picture(truth_path, limit_pixels=limits.limit_pixels)
    check_same_size(truth_path, ground_truth.shape[:2], source.shape[:2])
    square = sample_square(source_path, source, mask, limits)
    small_source = cut_picture(source, square, limits.size_px)
    small_truth = cut_picture(ground_truth, square, limits.size_px)
    small_mask = sample_mask(mask_path, mask, square, limits)
    if record.scene is None:
        lineage = film_of(kind, root, record.ground_truth)
    else:
        lineage = derive_key("scene", kind, root.name, record.scene)
    scene, split = scenes(truth_path, ground_truth, limits, lineage)
    return Triplet(
        key=derive_key(kind, small_source, small_mask, small_truth),
        scene=scene,
        split=split,
        origin=f"{kind}:{root.name}/{record.name}",
        source=small_source,
        mask=small_mask,
        ground_truth=small_truth,
    )


def sample_square(path: Path, picture: RgbImage, mask: Mask, limits: SampleLimits) -> Square:
    """The square about the mask that becomes the sample.

    Raises:
        RejectedPicture: TOO_SMALL, since an enlarged picture teaches blur.
    """
    height, width = picture.shape[:2]
    if min(height, width) < limits.size_px:
        detail = f"{width}×{height} where {limits.size_px} is wanted"
        raise RejectedPicture(path, RejectReason.TOO_SMALL, detail)
    return square_about(mask)


def sample_mask(path: Path, mask: Mask, square: Square, limits: SampleLimits) -> Mask:
    """The sample's mask, size_px×size_px bool.

    Raises:
        RejectedPicture: MASK_EMPTY, MASK_FULL or MASK_AREA, once cut and reduced.
    """
    small = cut_mask(mask, square, limits.size_px)
    if not small.any():
        raise RejectedPicture(path, RejectReason.MASK_EMPTY, "once reduced to the sample's size")
    if small.all():
        raise RejectedPicture(path, RejectReason.MASK_FULL, "once cut to a square")
    if not limits.mask_area_min <= small.mean() <= limits.mask_area_max:
        raise RejectedPicture(path, RejectReason.MASK_AREA, f"{small.mean():.2%} of the sample")
    return small
