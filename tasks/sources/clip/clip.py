"""Turn a fixed-camera video into a clean plate and triplets (papers.md, fact 1: RORD's way).

What differs from the plate is the object. The frame, the mask and the plate in the frame's light are a real
triplet. The reasons, with figures: ``docs/development/decisions/0010-sources.md``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import InputError
from data_specs.keys import Split, derive_key, image_hash
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.clip.change import change_mask, change_score, clean_plate, without_objects
from tasks.sources.clip.frames import (
    Frame,
    VideoFacts,
    camera_shift,
    match_light_locally,
    read_frames,
    video_facts,
)
from tasks.sources.image_ops import Square, cut_image, cut_mask, label_regions

# Blocks of time: frames that are near in time are one scene and share a split.


@dataclass(frozen=True, slots=True)
class TimeBlocks:
    """A clip cut into equal blocks. The last is the test split, the one before it the validation split.

    Frames just before either are left out: an object that moves there is then not in both splits. A clip of
    fewer than three blocks is all training. A held-out part would show the same people as the training part.
    """

    count: int
    block_seconds: float
    gap_seconds: float

    def block_at(self, seconds: float) -> int:
        """The block's number, from 0."""
        return min(int(seconds / self.block_seconds), self.count - 1)

    def split_of(self, block: int) -> Split:
        """The split of a whole block."""
        if self.count < 3 or block < self.count - 2:
            return "train"
        return "validation" if block == self.count - 2 else "test"

    def in_gap(self, seconds: float) -> bool:
        """True for moments that belong to no split."""
        block = self.block_at(seconds)
        if block + 1 == self.count or self.split_of(block) == self.split_of(block + 1):
            return False
        return seconds >= (block + 1) * self.block_seconds - self.gap_seconds


def time_blocks(clip_seconds: float, *, scene_seconds: float, gap_seconds: float) -> TimeBlocks:
    """Cut ``clip_seconds`` into blocks of at least ``scene_seconds`` (one block if it is shorter)."""
    count = max(1, int(clip_seconds / scene_seconds))
    return TimeBlocks(count, clip_seconds / count, gap_seconds)


# Crops around moved objects: whole objects only, one or several.

_MARGIN_PX = 5
"""Margin around an object inside its crop. A remover then sees what the object stands on."""
_TRIES = 6
_ROOM = (1.3, 2.6)
"""Range of a crop's side, as a multiple of its first object's long side."""


@dataclass(frozen=True, slots=True)
class CropLimits:
    """The limits of a crop."""

    side_min_px: int
    side_max_px: int
    area_min: float
    """Masked fraction of the crop, 0..1."""
    area_max: float
    per_frame: int


def choose_crops(mask: Mask, limits: CropLimits, seed: int) -> Iterator[Square]:
    """Squares that contain one or more whole objects and cut through none, largest object first.

    Args:
        mask: H×W bool. Each connected region is an object.
        limits: Sides, areas and number.
        seed: The same seed gives the same squares.
    """
    rng = np.random.default_rng(seed)
    labels, areas, boxes = label_regions(mask)
    order = 1 + np.argsort(-areas[1:], kind="stable")
    seen: set[frozenset[int]] = set()
    for first in order:
        if len(seen) >= limits.per_frame:
            return
        for _ in range(_TRIES):
            square = _place(boxes, labels, int(first), limits, rng)
            if square is None or not limits.area_min <= square.of(mask).mean() <= limits.area_max:
                continue
            inside = frozenset(np.unique(square.of(labels)).tolist()) - {0}
            if inside not in seen:
                seen.add(inside)
                yield square
            break


def _place(
    boxes: NDArray[np.int32],
    labels: NDArray[np.int32],
    first: int,
    limits: CropLimits,
    rng: np.random.Generator,
) -> Square | None:
    """A square around object ``first``, grown until it cuts through nothing. None if there is none."""
    box = boxes[first]
    side = round(rng.uniform(*_ROOM) * max(box[2] - box[0], box[3] - box[1]))
    for _ in range(4):
        needed = int(max(box[2] - box[0], box[3] - box[1])) + 2 * _MARGIN_PX
        side = max(side, needed, limits.side_min_px)
        if needed > limits.side_max_px or side > min(labels.shape):
            return None
        side = min(side, limits.side_max_px)
        square = _about(box, side, labels.shape, rng)
        inside = np.unique(square.of(labels))
        inside = inside[inside > 0]
        whole = np.array([*boxes[inside, :2].min(axis=0), *boxes[inside, 2:].max(axis=0)])
        if _holds(square, whole):
            return square
        box = whole
    return None


def _about(box: NDArray[np.int32], side: int, shape: tuple[int, ...], rng: np.random.Generator) -> Square:
    """A square of ``side`` at a random position around ``box``, inside the image."""
    starts = []
    for low, high, limit in ((box[0], box[2], shape[1]), (box[1], box[3], shape[0])):
        earliest, latest = int(high) + _MARGIN_PX - side, int(low) - _MARGIN_PX
        start = int(rng.integers(earliest, max(earliest, latest) + 1))
        starts.append(min(max(start, 0), limit - side))
    return Square(left=starts[0], top=starts[1], side=side)


def _holds(square: Square, box: NDArray[np.int32]) -> bool:
    right, bottom = square.left + square.side, square.top + square.side
    return bool(box[0] >= square.left and box[1] >= square.top and box[2] <= right and box[3] <= bottom)


SAMPLE_CLIP = Path(__file__).parents[1] / "sample" / "pedestrians.mp4"
"""The clip that ships with cleanplate. Its origin is documented beside it."""

Progress = Callable[[int, int], None]
"""Called with (frames read, frames in the clip)."""

_COMMON_RESPONSE = 0.1
"""Below this response of phase correlation, two frames show different things."""
_CHANGED_FRACTION = 0.5
"""If more than this fraction of a frame changed, it is no object."""


class ClipConfig(BaseModel):
    """How one fixed-camera video becomes triplets."""

    model_config = ConfigDict(frozen=True)

    path: Path = Field(default=SAMPLE_CLIP, description="The video file. Its camera must not move.")
    size_px: int = Field(default=64, ge=16, le=2048, description="Side of the square samples, in pixels.")
    crop_min_px: int = Field(
        default=64, ge=16, le=4096, description="Minimum side of a crop, in pixels of the clip."
    )
    crop_max_px: int = Field(
        default=192, ge=16, le=4096, description="Maximum side of a crop, in pixels of the clip."
    )
    frame_step: int = Field(
        default=2, ge=1, le=1000, description="Step between frames. 2 uses every second frame."
    )
    crops_per_frame: int = Field(
        default=4, ge=1, le=100, description="Maximum number of crops from one frame."
    )
    scene_seconds: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Length of a block of frames, in seconds. The frames of a block are one scene and "
        "share a split.",
    )
    gap_seconds: float = Field(
        default=3,
        ge=0,
        le=600,
        description="Time that is left out before the validation block and before the test block, in "
        "seconds.",
    )
    mask_area_min: float = Field(default=0.01, ge=0, le=1, description="Minimum masked fraction of a crop.")
    mask_area_max: float = Field(default=0.4, ge=0, le=1, description="Maximum masked fraction of a crop.")
    change_threshold: float = Field(
        default=0.2,
        gt=0,
        le=2,
        description="Minimum difference from the plate that counts as a change. Lower values find more.",
    )
    object_area_min: float = Field(
        default=0.0003,
        gt=0,
        le=1,
        description="Minimum area of an object, as a fraction of the frame. Smaller changes are noise.",
    )
    plate_samples: int = Field(
        default=61,
        ge=5,
        le=1001,
        description="Number of frames from which the plate is made. All are held in memory at once.",
    )
    camera_shift_max_px: float = Field(
        default=1.5,
        gt=0,
        le=100,
        description="Maximum shift of a frame from the plate, in pixels. Frames with a larger shift are "
        "refused.",
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "ClipConfig":
        if not self.size_px <= self.crop_min_px <= self.crop_max_px:
            raise ValueError(
                "size_px ≤ crop_min_px ≤ crop_max_px must hold, because samples are never enlarged"
            )
        if self.mask_area_min >= self.mask_area_max:
            raise ValueError("mask_area_min must be below mask_area_max")
        return self


def clip_triplets(config: ClipConfig, progress: Progress | None = None) -> Iterator[Triplet | Reject]:
    """The triplets of one clip, in order of time, with rejects between them."""
    cv2.setNumThreads(1)  # Worker processes share the cores; cv2's own threads would compete for them.
    name = config.path.name
    try:
        facts = video_facts(config.path)
    except InputError as error:
        yield Reject(source="clip", name=name, reason=RejectReason.UNREADABLE, detail=error.fault)
        return
    samples = _plate_samples(config, facts)
    steady = _steady_samples(samples, config.camera_shift_max_px)
    if not _stands_still(samples, steady):
        detail = f"{len(samples) - len(steady)} of {len(samples)} frames are shifted against the middle one"
        yield Reject(source="clip", name=name, reason=RejectReason.CAMERA_MOVED, detail=detail)
        return
    plate = clean_plate(steady)
    scene_prefix = image_hash(samples[0])
    blocks = time_blocks(facts.seconds, scene_seconds=config.scene_seconds, gap_seconds=config.gap_seconds)
    last, moved_in = -1, set[int]()
    for frame in read_frames(config.path, step=config.frame_step, rate=facts.rate):
        last = frame.index
        if progress is not None:
            progress(frame.index + 1, facts.frames)
        if blocks.in_gap(frame.seconds):
            continue
        for triplet in _frame_triplets(frame, plate, config, blocks, scene_prefix):
            moved_in.add(blocks.block_at(frame.seconds))
            yield triplet
    if progress is not None:
        progress(facts.frames, facts.frames)
    yield from _closing_rejects(config, facts, blocks, moved_in, last)


def clip_scene(config: ClipConfig) -> RgbImage | None:
    """The clip's scene without anything that moves, H×W×3 uint8. None if the camera moved.

    Raises:
        InputError: If the file cannot be read.
    """
    samples = _plate_samples(config, video_facts(config.path))
    steady = _steady_samples(samples, config.camera_shift_max_px)
    return clean_plate(steady) if _stands_still(samples, steady) else None


def _stands_still(samples: list[RgbImage], steady: list[RgbImage]) -> bool:
    return len(steady) >= max(3, len(samples) / 2)


def _plate_samples(config: ClipConfig, facts: VideoFacts) -> list[RgbImage]:
    step = max(1, facts.frames // config.plate_samples)
    return [frame.image for frame in read_frames(config.path, step=step, rate=facts.rate)]


def _steady_samples(samples: list[RgbImage], max_px: float) -> list[RgbImage]:
    """The samples from the same viewpoint as the middle one."""
    reference = samples[len(samples) // 2]
    return [sample for sample in samples if _camera_fault(sample, reference, max_px) is None]


def _camera_fault(image: RgbImage, reference: RgbImage, max_px: float) -> str | None:
    shift = camera_shift(image, reference)
    if shift.pixels <= max_px and shift.response >= _COMMON_RESPONSE:
        return None
    return f"{shift.pixels:.1f} px from the plate, correlation {shift.response:.2f}"


def _frame_triplets(
    frame: Frame, plate: RgbImage, config: ClipConfig, blocks: TimeBlocks, scene_prefix: str
) -> Iterator[Triplet | Reject]:
    """The triplets of one frame, or why it has none. Nothing if nothing moved in it."""
    name = f"{config.path.name}@{frame.index}"
    fault = _camera_fault(frame.image, plate, config.camera_shift_max_px)
    if fault is not None:
        yield Reject(source="clip", name=name, reason=RejectReason.CAMERA_MOVED, detail=fault)
        return
    lit_plate = match_light_locally(plate, frame.image)
    score = change_score(frame.image, lit_plate)
    min_area_px = config.object_area_min * score.size
    mask = change_mask(score, threshold=config.change_threshold, min_area_px=min_area_px)
    if mask.mean() > _CHANGED_FRACTION:
        detail = f"{mask.mean():.0%} of the frame changed at once"
        yield Reject(source="clip", name=name, reason=RejectReason.CAMERA_MOVED, detail=detail)
        return
    empty = without_objects(frame.image, lit_plate, mask, score, config.change_threshold)
    block = blocks.block_at(frame.seconds)
    limits = CropLimits(
        config.crop_min_px,
        config.crop_max_px,
        config.mask_area_min,
        config.mask_area_max,
        config.crops_per_frame,
    )
    for square in choose_crops(mask, limits, seed=frame.index):
        source = cut_image(frame.image, square, config.size_px)
        ground_truth = cut_image(empty, square, config.size_px)
        cut = cut_mask(mask, square, config.size_px)
        yield Triplet(
            key=derive_key("clip", source, cut, ground_truth),
            scene=derive_key("clip", scene_prefix, block),
            split=blocks.split_of(block),
            origin=f"clip:{name}+{square.left},{square.top},{square.side}",
            source=source,
            mask=cut,
            ground_truth=ground_truth,
        )


def _closing_rejects(
    config: ClipConfig, facts: VideoFacts, blocks: TimeBlocks, moved_in: set[int], last: int
) -> Iterator[Reject]:
    """Rejects known only at the end: blocks where nothing moved, and a clip that ended early."""
    name = config.path.name
    for block in range(blocks.block_at(max(last, 0) / facts.rate) + 1):
        if block not in moved_in:
            start = block * blocks.block_seconds
            detail = (
                f"no object of a suitable size between {start:.0f} s and {start + blocks.block_seconds:.0f} s"
            )
            yield Reject(source="clip", name=f"{name}#{block}", reason=RejectReason.NO_CHANGE, detail=detail)
    if last + 1 < facts.frames * 0.95 - config.frame_step:
        detail = f"only frames up to {last} of {facts.frames} can be read"
        yield Reject(source="clip", name=name, reason=RejectReason.TRUNCATED, detail=detail)
