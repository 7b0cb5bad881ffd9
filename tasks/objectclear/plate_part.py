"""Plates: a picture with its ground and depth becomes a background, or a reject (ObjectClear, fact 14)."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Depth, Region, RgbImage
from data_specs.keys import Split, derive_key
from data_specs.plate import Plate
from data_specs.reject import Reject, RejectReason
from tasks.objectclear.ground_part import fit_horizon
from tasks.objectclear.tone import tone_of


class PlateConfig(BaseModel):
    """Which pictures can be plates. The paper publishes no limits; these are ours."""

    model_config = ConfigDict(frozen=True)

    least_side_px: int = Field(default=64, ge=16, description="A picture with a shorter side is refused.")
    least_ground_share: float = Field(
        default=0.05, ge=0, le=1, description="Least share of the picture that is flat ground."
    )
    least_agreement: float = Field(
        default=0.97,
        ge=0,
        le=1,
        description="Least share of the picture in which the model that tells the surfaces says the same of "
        "its mirror image; below, the picture is unlike what it learnt. The tiny model's limit.",
    )


def make_plate(
    config: PlateConfig,
    *,
    scene: str,
    split: Split,
    origin: str,
    picture: RgbImage,
    ground: Region,
    depth: Depth,
    focal_px: float,
) -> Plate | Reject:
    """A plate from a picture and what is known of its ground.

    Args:
        config: What is asked of it.
        scene: Its lineage.
        split: The split of its scene.
        origin: Where it came from, for people.
        picture: H×W×3 uint8, as ``tasks.sources.image_files.read_picture`` gives it.
        ground: H×W bool.
        depth: H×W float32, in the unit of the captured pairs; not above 0 where unknown.
        focal_px: Focal length in pixels.

    Returns:
        The plate, or a reject: SIZE_MISMATCH, TOO_SMALL, NO_GROUND or NO_SCALE. Ground whose depth is not
        known is left out of the plate's ground.
    """

    def refused(reason: RejectReason, detail: str) -> Reject:
        return Reject(source="plate", name=origin, reason=reason, detail=detail)

    size = picture.shape[:2]
    if ground.shape != size or depth.shape != size:
        detail = f"picture {size}, ground {ground.shape}, depth {depth.shape}"
        return refused(RejectReason.SIZE_MISMATCH, detail)
    if min(size) < config.least_side_px:
        detail = f"{size[1]}×{size[0]}, the shorter side must have {config.least_side_px} px"
        return refused(RejectReason.TOO_SMALL, detail)
    least = max(1, config.least_ground_share * ground.size)
    if ground.sum() < least:
        return refused(RejectReason.NO_GROUND, f"{ground.mean():.1%} of the picture")
    known = ground & np.isfinite(depth) & (depth > 0)
    if known.sum() < least:
        return refused(RejectReason.NO_SCALE, "the ground's depth is unknown")
    return Plate(
        key=derive_key("plate", picture, known, depth, focal_px),
        scene=scene,
        split=split,
        origin=origin,
        picture=picture,
        ground=known,
        depth=depth,
        focal_px=focal_px,
        horizon=fit_horizon(depth, known),
        tone=tone_of(picture),
    )
