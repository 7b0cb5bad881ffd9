"""Cut out: a captured pair becomes an object with its effect, or a reject (ObjectClear, facts 12 and 13)."""

import cv2
import numpy as np

from data_specs.arrays import Mask, Region
from data_specs.captured_pair import CapturedPair
from data_specs.cutout import Cutout, ShadowClass
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.foot import foot_of
from tasks.objectclear.ground_part import bearing, depression, fit_horizon
from tasks.objectclear.layers import effect_layer, object_colours
from tasks.objectclear.shadow_direction import shadow_angle, shadow_class_of
from tasks.objectclear.tone import tone_of

_OFF_GROUND_SHARE = 0.05
"""Of the effect: a shadow that climbs a wall cannot lie on another's floor."""


def cut_out(pair: CapturedPair) -> Cutout | Reject:
    """The layer of a pair's object, in the box of object and effect.

    Returns:
        The cut-out, or a reject: MASK_EMPTY, CUT_BY_BORDER, EFFECT_OFF_GROUND, NO_SCALE or LIGHT_UNTOLD.
    """
    mask = pair.matte >= 128
    refused = _fault(pair, mask)
    if refused is not None:
        return refused
    horizon = fit_horizon(pair.depth, pair.ground)
    foot = foot_of(mask)
    if horizon is None or foot[0] <= horizon:
        return _reject(pair, RejectReason.LIGHT_UNTOLD, "the ground's depth shows no horizon above the foot")
    darkening, brightening = effect_layer(pair.source, pair.ground_truth, pair.matte, pair.effect)
    angle = shadow_angle(darkening, mask, pair.ground, horizon, pair.focal_px)
    shadow_class: ShadowClass = "none" if angle is None else shadow_class_of(angle)
    top, left, box = _box(pair.effect | (pair.matte > 0))
    colours = object_colours(pair.source, pair.ground_truth, pair.matte, darkening, brightening)
    return Cutout(
        key=derive_key("cutout", pair.key, shadow_class, colours[box], darkening[box], brightening[box]),
        scene=pair.scene,
        split=pair.split,
        origin=pair.origin,
        class_name=pair.class_name,
        picture=colours[box],
        matte=pair.matte[box],
        darkening=darkening[box],
        brightening=brightening[box],
        foot=(foot[0] - top, foot[1] - left),
        foot_depth=_foot_depth(pair, mask, foot[0]),
        focal_px=pair.focal_px,
        depression=depression(foot[0], horizon, pair.focal_px, len(mask)),
        bearing=bearing(foot[1], pair.focal_px, mask.shape[1]),
        shadow_class=shadow_class,
        tone=tone_of(pair.ground_truth),
    )


def _fault(pair: CapturedPair, mask: Mask) -> Reject | None:
    """Why a pair's object cannot be cut out, told from its masks and depth."""
    if not mask.any():
        return _reject(pair, RejectReason.MASK_EMPTY, "no pixel is covered by half")
    if _touches_border(pair.effect | (pair.matte > 0)):
        return _reject(pair, RejectReason.CUT_BY_BORDER, "the rest of it is not in the picture")
    off_ground = float((pair.effect & ~pair.ground).sum()) / max(1, int(pair.effect.sum()))
    if off_ground > _OFF_GROUND_SHARE:
        return _reject(pair, RejectReason.EFFECT_OFF_GROUND, f"{off_ground:.0%} of it")
    foot_depth = _foot_depth(pair, mask, foot_of(mask)[0])
    if not 0 < foot_depth < float("inf"):
        return _reject(pair, RejectReason.NO_SCALE, f"its foot's depth is {foot_depth}")
    return None


def _foot_depth(pair: CapturedPair, mask: Mask, row: int) -> float:
    return float(np.median(pair.depth[row][mask[row]]))


def _touches_border(region: Region) -> bool:
    return bool(region[[0, -1]].any() or region[:, [0, -1]].any())


def _box(region: Region) -> tuple[int, int, tuple[slice, slice]]:
    """Top and left of a region's box, and the box as slices."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    return top, left, (slice(top, top + height), slice(left, left + width))


def _reject(pair: CapturedPair, reason: RejectReason, detail: str) -> Reject:
    return Reject(source="cut out", name=pair.origin, reason=reason, detail=detail)
