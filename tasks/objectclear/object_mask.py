"""Captured masks: a pair of plain pictures becomes a captured pair, or a reject (ObjectClear, fact 11)."""

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Region
from data_specs.captured_pair import CapturedPair
from data_specs.keys import derive_key
from data_specs.picture_pair import PicturePair
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.align import AlignedPair, align_pair
from tasks.objectclear.change_mask import DifferenceConfig, changed_region
from tasks.objectclear.flat_ground import FlatGroundConfig, flat_ground
from tasks.objectclear.object_mask_part import FoundObject, MatchConfig, find_object
from tasks.objectclear.perception import Perception
from tasks.objectclear.soft_matte import soft_matte
from tasks.sources.image_ops import label_regions


class CaptureConfig(BaseModel):
    """What is asked of a captured pair. The paper publishes no limits; these are ours."""

    model_config = ConfigDict(frozen=True)

    least_side_px: int = Field(default=64, ge=16, description="Pairs with a shorter side are refused.")
    greatest_shift_share: float = Field(
        default=0.03,
        ge=0,
        le=0.5,
        description="Of the shorter side: a camera that moved farther did not stand still.",
    )
    greatest_change_share: float = Field(
        default=0.5, gt=0, le=1, description="Of the picture: when more has changed, it is not one object."
    )
    greatest_median_levels: float = Field(
        default=10,
        gt=0,
        le=255,
        description="Grey levels by which half of an aligned pair may differ; above, it shows two scenes.",
    )
    difference: DifferenceConfig = Field(default=DifferenceConfig(), description="What counts as change.")
    match: MatchConfig = Field(default=MatchConfig(), description="Which object explains it.")


def capture_pair(
    pair: PicturePair, perception: Perception, config: CaptureConfig, flatness: FlatGroundConfig
) -> CapturedPair | Reject:
    """Masks, ground and depth of a pair.

    M_o is what the detector finds and the segmenter cuts where the pictures differ; M_e is what else differs
    and hangs together with it. Ground and depth are seen without the object, so that its foot has the
    ground's depth.

    Returns:
        The captured pair, aligned and therefore up to a few pixels smaller; or a reject: SIZE_MISMATCH,
        TOO_SMALL, CAMERA_MOVED, NO_CHANGE, MANY_CHANGES or UNEXPLAINED.
    """
    fault = _size_fault(pair, config)
    if fault is not None:
        return fault
    aligned = align_pair(pair.source, pair.ground_truth)
    moved, side = float(np.hypot(*aligned.shift)), min(pair.source.shape[:2])
    if moved > config.greatest_shift_share * side:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"by {moved:.1f} px")
    levels = float(np.median(cv2.absdiff(aligned.source, aligned.ground_truth).max(axis=2)))
    if levels > config.greatest_median_levels:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"half of the picture differs by {levels:.0f} levels")
    region = changed_region(aligned.source, aligned.ground_truth, config.difference)
    fault = _region_fault(pair, region, config)
    if fault is not None:
        return fault
    found = find_object(aligned.source, region, perception.detector, perception.segmenter, config.match)
    if found is None:
        return _reject(pair, RejectReason.UNEXPLAINED, f"{region.mean():.1%} of the picture changed")
    return _captured(pair, aligned, found, perception, settings=(config, flatness))


def _size_fault(pair: PicturePair, config: CaptureConfig) -> Reject | None:
    size, other = pair.source.shape[:2], pair.ground_truth.shape[:2]
    if size != other:
        detail = f"source {size[1]}×{size[0]}, ground truth {other[1]}×{other[0]}"
        return _reject(pair, RejectReason.SIZE_MISMATCH, detail)
    if min(size) < config.least_side_px:
        detail = f"{size[1]}×{size[0]}, the shorter side must have {config.least_side_px} px"
        return _reject(pair, RejectReason.TOO_SMALL, detail)
    return None


def _region_fault(pair: PicturePair, region: Region, config: CaptureConfig) -> Reject | None:
    share, count = float(region.mean()), len(label_regions(region)[1]) - 1
    if not count:
        return _reject(pair, RejectReason.NO_CHANGE, "the pictures are alike")
    if share > config.greatest_change_share:
        return _reject(pair, RejectReason.CAMERA_MOVED, f"{share:.0%} of the picture changed at once")
    if count > config.match.most_regions:
        return _reject(pair, RejectReason.MANY_CHANGES, f"{count} regions")
    return None


def _captured(
    pair: PicturePair,
    aligned: AlignedPair,
    found: FoundObject,
    perception: Perception,
    settings: tuple[CaptureConfig, FlatGroundConfig],
) -> CapturedPair | Reject:
    if found.rivals:
        return _reject(pair, RejectReason.MANY_CHANGES, f"{found.rivals} other objects changed with it")
    matte = soft_matte(aligned.source, aligned.ground_truth, found.mask)
    matte[~found.region] = 0  # Its soft rim would call noise an edge.
    classes = perception.ground_segmenter.classify(aligned.ground_truth)
    depth = perception.depth_estimator.estimate(aligned.ground_truth)
    ground = flat_ground(classes, depth, pair.focal_px, settings[1])
    stated = [each.model_dump_json() for each in settings]
    return CapturedPair(
        key=derive_key("captured pair", pair.key, *stated, perception.model_hash),
        scene=pair.scene,
        split=pair.split,
        origin=pair.origin,
        class_name=found.class_name,
        source=aligned.source,
        ground_truth=aligned.ground_truth,
        matte=matte,
        effect=found.region & (matte == 0),
        ground=ground & (matte == 0),
        depth=depth,
        focal_px=pair.focal_px,
    )


def _reject(pair: PicturePair, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="capture pair", name=pair.origin, reason=reason, detail=detail)
