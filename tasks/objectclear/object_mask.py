"""Find the object's masks: a pair of images becomes a captured pair or a reject (papers.md, fact 11)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Mask, Region, RgbImage
from data_specs.captured_pair import CapturedPair, ImagePair
from data_specs.detection import Box, Detection
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from models.images.mask_variants import dilated
from models.protocols import Detector, Segmenter
from tasks.objectclear.ground import FlatGroundConfig, flat_ground
from tasks.objectclear.layers import soft_matte
from tasks.objectclear.pair_difference import AlignedPair, DifferenceConfig, align_pair, changed_region
from tasks.objectclear.perception import Perception
from tasks.sources.image_ops import fill_holes, label_regions, mask_iou

# The object's mask: a detector finds it, a segmenter cuts it, and the changed region confirms it
# (papers.md, facts 11 and 23).

_HOLE_FRACTION = 0.2
"""A fraction of the object. A hole up to this size belongs to the object: there the object looks like what it
hides. Through larger holes one sees the background."""


class MatchConfig(BaseModel):
    """Which detected object explains a change."""

    model_config = ConfigDict(frozen=True)

    min_score: float = Field(default=0.1, ge=0, le=1, description="Minimum score of a detection.")
    min_iou: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Minimum IoU of object and changed region. The region includes the shadow (OSOR: 0.3 "
        "without it).",
    )
    rival_score: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Minimum score of a second object that counts. If such an object changed too, the "
        "pair is refused.",
    )
    rival_fraction: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Minimum area of a second object, as a fraction of the object's area. Smaller ones "
        "are parts or specks.",
    )
    min_changed_fraction: float = Field(
        default=0.6, ge=0, le=1, description="Minimum fraction of the object's mask that must have changed."
    )
    max_regions: int = Field(
        default=4, ge=1, le=1000, description="Maximum number of changed regions in a pair (OSOR: 4)."
    )
    unexplained_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Maximum fraction of the changed region that lies apart from the object and has no "
        "other explanation. All change apart from the object is left out.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """The object that explains a change."""

    class_name: str
    mask: Mask
    """H×W bool, M_o."""
    region: Region
    """H×W bool, M_fg: the object and the changed regions connected to it. It contains ``mask``."""
    rivals: int = 0
    """Number of other detected objects in ``region``. What they changed is no effect of this one."""


def find_object(
    source: RgbImage, region: Region, detector: Detector, segmenter: Segmenter, config: MatchConfig
) -> FoundObject | None:
    """Find the detected object whose mask agrees best with the changed region.

    Args:
        source: H×W×3 uint8.
        region: H×W bool, as ``changed_region`` returns it. Not empty.
        detector: Finds boxes.
        segmenter: Cuts masks.
        config: The limits of a match.

    Returns:
        The object, or None if none explains the change.
    """
    detections = [detection for detection in detector.detect(source) if _may_match(detection, region, config)]
    masks = segmenter.segment(source, [detection.box for detection in detections]) if detections else []
    changed = [
        (mask_iou(mask, region), detection, mask)
        for detection, mask in zip(detections, masks, strict=True)
        if mask.any() and (mask & region).sum() >= config.min_changed_fraction * mask.sum()
    ]
    best = max(changed, key=lambda one: one[0], default=None)
    if best is None or best[0] < config.min_iou:
        return None
    sure = [mask for _, detection, mask in changed if detection.score >= config.rival_score]
    joined = _joined(best[1].class_name, best[2], region, sure, config)
    if joined is None:
        return None
    return replace(
        joined, rivals=sum(_is_rival(detection, mask, joined, config) for _, detection, mask in changed)
    )


def _is_rival(detection: Detection, mask: Mask, match: FoundObject, config: MatchConfig) -> bool:
    """Whether this is another object: certain, large enough, and mostly outside the found one."""
    apart = int((mask & match.region & ~match.mask).sum())
    large = apart >= config.rival_fraction * match.mask.sum()
    return detection.score >= config.rival_score and large and 2 * apart > mask.sum()


def _may_match(detection: Detection, region: Region, config: MatchConfig) -> bool:
    """Whether a box deserves a mask: it is certain, and changed enough for an object that half fills it."""
    if detection.score < config.min_score:
        return False
    inside = region[_rows_and_columns(detection.box)]
    return inside.size > 0 and bool(inside.mean() >= config.min_changed_fraction / 2)


def _rows_and_columns(box: Box) -> tuple[slice, slice]:
    return slice(int(box.top), int(np.ceil(box.bottom))), slice(int(box.left), int(np.ceil(box.right)))


def _joined(
    class_name: str, cut: Mask, region: Region, sure: Sequence[Mask], config: MatchConfig
) -> FoundObject | None:
    """M_o without what did not change, and M_fg. None if too much change lies apart, unexplained."""
    mask = cut & region
    near = dilated(mask, max(2, round(len(mask) / 64)))
    labels, areas, _ = label_regions(region)
    kept = np.zeros(areas.size, bool)
    kept[np.unique(labels[near])] = True
    kept[0] = False
    foreground = kept[labels] & region
    parts = [labels == number for number in np.flatnonzero(~kept)[1:]]
    unexplained = sum(int(part.sum()) for part in parts if not _explained(part, sure, config))
    if unexplained > config.unexplained_fraction * region.sum():
        return None
    whole = fill_holes(mask.astype(np.uint8), _HOLE_FRACTION * float(mask.sum())) > 0
    return FoundObject(class_name, whole, foreground | whole)


def _explained(part: Region, sure: Sequence[Mask], config: MatchConfig) -> bool:
    """Whether another certain object explains this change, such as a person who walked through."""
    return any(mask_iou(mask, part) >= config.min_iou for mask in sure)


class CaptureConfig(BaseModel):
    """The limits of a captured pair. The paper publishes none; these are ours."""

    model_config = ConfigDict(frozen=True)

    min_side_px: int = Field(default=64, ge=16, description="Minimum shorter side of a pair, in pixels.")
    max_shift_fraction: float = Field(
        default=0.03,
        ge=0,
        le=0.5,
        description="Maximum shift of the camera, as a fraction of the shorter side.",
    )
    max_change_fraction: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Maximum changed area, as a fraction of the image. Above it, more than one object has "
        "changed.",
    )
    max_median_levels: float = Field(
        default=10,
        gt=0,
        le=255,
        description="Maximum median difference of an aligned pair, in grey levels. Above it, the pair "
        "shows two scenes.",
    )
    difference: DifferenceConfig = Field(
        default=DifferenceConfig(), description="The definition of a change."
    )
    match: MatchConfig = Field(default=MatchConfig(), description="How the changed object is chosen.")


def capture_pair(
    pair: ImagePair, perception: Perception, config: CaptureConfig, flatness: FlatGroundConfig
) -> CapturedPair | Reject:
    """Find masks, ground and depth of a pair.

    M_o is what the detector finds and the segmenter cuts where the images differ. M_e is the other change
    that is connected to it. Ground and depth come from the image without the object, so its foot gets
    the depth of the ground.

    Returns:
        The captured pair, aligned and therefore up to a few pixels smaller. Or a reject: SIZE_MISMATCH,
        TOO_SMALL, CAMERA_MOVED, NO_CHANGE, MANY_CHANGES or UNEXPLAINED.
    """
    fault = _size_fault(pair, config)
    if fault is not None:
        return fault
    aligned = align_pair(pair.source, pair.ground_truth)
    moved, side = float(np.hypot(*aligned.shift)), min(pair.source.shape[:2])
    if moved > config.max_shift_fraction * side:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"by {moved:.1f} px")
    levels = float(np.median(cv2.absdiff(aligned.source, aligned.ground_truth).max(axis=2)))
    if levels > config.max_median_levels:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"half of the image differs by {levels:.0f} levels")
    region = changed_region(aligned.source, aligned.ground_truth, config.difference)
    fault = _region_fault(pair, region, config)
    if fault is not None:
        return fault
    match = find_object(aligned.source, region, perception.detector, perception.segmenter, config.match)
    if match is None:
        return _reject(pair, RejectReason.UNEXPLAINED, f"{region.mean():.1%} of the image changed")
    return _captured(pair, aligned, match, perception, settings=(config, flatness))


def _size_fault(pair: ImagePair, config: CaptureConfig) -> Reject | None:
    size, other = pair.source.shape[:2], pair.ground_truth.shape[:2]
    if size != other:
        detail = f"source {size[1]}×{size[0]}, ground truth {other[1]}×{other[0]}"
        return _reject(pair, RejectReason.SIZE_MISMATCH, detail)
    if min(size) < config.min_side_px:
        detail = f"{size[1]}×{size[0]}, and the shorter side must have {config.min_side_px} px"
        return _reject(pair, RejectReason.TOO_SMALL, detail)
    return None


def _region_fault(pair: ImagePair, region: Region, config: CaptureConfig) -> Reject | None:
    fraction, count = float(region.mean()), len(label_regions(region)[1]) - 1
    if not count:
        return _reject(pair, RejectReason.NO_CHANGE, "the images are alike")
    if fraction > config.max_change_fraction:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"{fraction:.0%} of the image changed at once")
    if count > config.match.max_regions:
        return _reject(pair, RejectReason.MANY_CHANGES, f"{count} regions")
    return None


def _captured(
    pair: ImagePair,
    aligned: AlignedPair,
    match: FoundObject,
    perception: Perception,
    settings: tuple[CaptureConfig, FlatGroundConfig],
) -> CapturedPair | Reject:
    if match.rivals:
        return _reject(pair, RejectReason.MANY_CHANGES, f"{match.rivals} other objects changed with it")
    matte = soft_matte(aligned.source, aligned.ground_truth, match.mask)
    matte[~match.region] = 0  # The soft rim would count noise as an edge.
    classes = perception.ground_segmenter.classify(aligned.ground_truth)
    depth = perception.depth_estimator.estimate(aligned.ground_truth)
    ground = flat_ground(classes, depth, pair.focal_px, settings[1])
    stated = [setting.model_dump_json() for setting in settings]
    return CapturedPair(
        key=derive_key("captured pair", pair.key, *stated, perception.model_hash),
        scene=pair.scene,
        split=pair.split,
        origin=pair.origin,
        class_name=match.class_name,
        source=aligned.source,
        ground_truth=aligned.ground_truth,
        matte=matte,
        effect=match.region & (matte == 0),
        ground=ground & (matte == 0),
        depth=depth,
        focal_px=pair.focal_px,
    )


def _reject(pair: ImagePair, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="capture pair", name=pair.origin, reason=reason, detail=detail)
