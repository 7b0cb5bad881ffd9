"""Cut objects with their effects out of captured pairs, and write one shard (papers.md, fact 12)."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from pydantic import Field

from data_specs.arrays import Mask, Region
from data_specs.captured_pair import CapturedPair, ImagePair
from data_specs.cutout import Cutout, ShadowClass
from data_specs.keys import derive_key
from data_specs.reject import RefusedSample, Reject, RejectReason
from tasks.execution.shard_task import shard_task
from tasks.objectclear.blend import tone_of
from tasks.objectclear.ground import bearing, depression, fit_horizon, foot_of, shadow_angle, shadow_class_of
from tasks.objectclear.layers import effect_layer, object_colours
from tasks.objectclear.object_mask import CaptureConfig, capture_pair
from tasks.objectclear.perception import Perception, SeeingWork, load_perception
from tasks.sources.pairs import PairSource, SyntheticPairs, numbers_of, read_pairs
from tasks.sources.synthetic.samples import as_captured_pair, make_sample
from tasks.storage.shards import encode_cutout
from tasks.storage.shards.result import Kept, ShardResult, write_with_rejects
from tasks.storage.workspace import Workspace

# Cut-outs: a captured pair becomes an object with its effect, or a reject (papers.md, facts 12 and 13).

_OFF_GROUND_FRACTION = 0.05
"""Largest fraction of the effect off the ground: a shadow on a wall cannot lie on another plate's floor."""


def cut_out(pair: CapturedPair) -> Cutout | Reject:
    """Cut out the layer of a pair's object, in the box of object and effect.

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
        image=colours[box],
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
    """The reason why a pair's object cannot be cut out, from its masks and depth. None if it can."""
    if not mask.any():
        return _reject(pair, RejectReason.MASK_EMPTY, "no pixel is covered by half")
    if _touches_border(pair.effect | (pair.matte > 0)):
        return _reject(pair, RejectReason.CUT_BY_BORDER, "the rest of the object is outside the image")
    off_ground = float((pair.effect & ~pair.ground).sum()) / max(1, int(pair.effect.sum()))
    if off_ground > _OFF_GROUND_FRACTION:
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


class CutOutWork(SeeingWork):
    """The input of one shard of cut-outs."""

    source: PairSource
    count: int | None = Field(default=None, ge=1)
    """Number of pairs, from ``first`` on. None means all the rest."""
    capture: CaptureConfig

    @property
    def sees(self) -> bool:
        """See ``SeeingWork.sees``."""
        return not (isinstance(self.source, SyntheticPairs) and self.source.use_rendered_truth)


def cut_out_pairs(
    workspace: Workspace, work: CutOutWork, perception: Perception | None = None
) -> ShardResult:
    """Find the masks and cut out the objects. A pair that fails becomes a reject with its reason and images.

    Args:
        workspace: The workspace to write to.
        work: The pairs.
        perception: Used instead of the work's own models. Those are loaded only if a pair needs them.
    """

    def found() -> Iterator[Kept | RefusedSample | Reject]:
        for pair, captured in _captured(work, perception):
            made = captured if isinstance(captured, Reject) else cut_out(captured)
            if not isinstance(made, Reject):
                tally = {"shadow class": made.shadow_class, "object class": made.class_name}
                yield Kept(encode_cutout(made), tally)
            elif pair is None:
                yield made
            else:
                yield _refused(pair, made)

    return write_with_rejects(workspace, work, "cutouts", found())


def _captured(
    work: CutOutWork, perception: Perception | None
) -> Iterator[tuple[ImagePair | CapturedPair | None, CapturedPair | Reject]]:
    """Each pair, if it could be read, and its captured pair or its reject."""
    source = work.source
    if isinstance(source, SyntheticPairs) and source.use_rendered_truth:
        for number in numbers_of(source, work.first, work.count):
            rendered = as_captured_pair(make_sample(source.renderer, number), source.renderer.split)
            # Another work may cut the same object. Its cut-out is another sample.
            own = replace(rendered, key=derive_key("captured pair", rendered.key, work.digest))
            yield own, own
        return
    seeing = perception or load_perception(work.perception)
    for pair in read_pairs(source, work.first, work.count):
        if isinstance(pair, Reject):
            yield None, pair
        else:
            yield pair, capture_pair(pair, seeing, work.capture, work.flatness)


def _refused(pair: ImagePair | CapturedPair, reject: Reject) -> RefusedSample:
    images = {"source": pair.source, "ground_truth": pair.ground_truth}
    return RefusedSample(scene=pair.scene, split=pair.split, reject=reject, images=images)


cut_out_shard = shard_task(cut_out_pairs, "cut out", "pairs {work.index}")
