"""Find what differs between a pair's images: the object and its effect (papers.md, fact 11)."""

import cv2
import numpy as np
from cv2.typing import MatLike
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Region, RgbImage
from tasks.sources.clip.change import change_score
from tasks.sources.image_ops import disc, drop_small, fill_holes, regions_holding

_RIM_PX = 4
_RIM_ABOVE_NOISE = 4
"""Factor on the median difference of single pixels, which is noisier than the score."""


class DifferenceConfig(BaseModel):
    """The differences from which a pixel has changed. The paper publishes none; OSOR's values are named."""

    model_config = ConfigDict(frozen=True)

    strong: float = Field(
        default=0.07, gt=0, le=2, description="Difference from which change is certain (OSOR: 0.07)."
    )
    weak: float = Field(
        default=0.025,
        gt=0,
        le=2,
        description="Weaker change counts where it hangs together with certain one.",
    )
    above_noise: float = Field(
        default=5,
        ge=0,
        le=100,
        description="Neither counts below so many times the image's median difference, its noise.",
    )
    rim_levels: float = Field(
        default=5, ge=0, le=255, description="Grey levels by which a pixel at a region's rim must differ."
    )
    rim_fraction: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Of the greatest difference beside it: JPEG rings by as much about an edge.",
    )
    min_area_fraction: float = Field(
        default=0.003,
        ge=0,
        le=1,
        description="Of the image: smaller regions are dropped (OSOR: 2,000 px, 0.0076 of 512×512).",
    )
    hole_fraction: float = Field(
        default=0.0019,
        ge=0,
        le=1,
        description="Of the image: holes up to this are filled (OSOR: 500 px of 512×512).",
    )


def changed_region(source: RgbImage, ground_truth: RgbImage, config: DifferenceConfig) -> Region:
    """True where an aligned pair differs in luminance, chroma or gradient.

    Hysteresis: weak change counts if it is connected to strong change. Then the region is closed, holes are
    filled and small parts are dropped. The thresholds rise with the image's noise. Without that, JPEG noise
    would connect everything.

    Args:
        source: H×W×3 uint8.
        ground_truth: H×W×3 uint8, in the source's position and light (``align_pair``).
        config: Thresholds and areas.

    Returns:
        H×W bool: object, shadow and reflection.
    """
    score = change_score(source, ground_truth)
    noise = config.above_noise * float(np.median(score))
    strong, weak = (
        cv2.morphologyEx((score > max(level, noise)).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
        for level in (config.strong, config.weak)
    )
    held = regions_holding(cv2.bitwise_or(weak, strong), strong)
    closed = cv2.morphologyEx(held, cv2.MORPH_CLOSE, disc(max(1, round(len(score) / 180))))
    filled = fill_holes(closed, config.hole_fraction * closed.size)
    trimmed = _trimmed(filled, source, ground_truth, config)
    return drop_small(trimmed, config.min_area_fraction * closed.size)


def _trimmed(region: MatLike, source: RgbImage, ground_truth: RgbImage, config: DifferenceConfig) -> MatLike:
    """The region without the rim from blur, gradient and JPEG ringing, H×W uint8 0 or 1."""
    difference = cv2.absdiff(source, ground_truth).max(axis=2)
    level = max(config.rim_levels, _RIM_ABOVE_NOISE * float(np.median(difference)))
    beside = cv2.dilate(difference, disc(_RIM_PX)).astype(np.float32)
    differs = difference >= np.maximum(level, config.rim_fraction * beside)
    core = cv2.erode(region, disc(_RIM_PX))
    kept = cv2.bitwise_or(core, cv2.bitwise_and(region, differs.astype(np.uint8)))
    return cv2.morphologyEx(kept, cv2.MORPH_OPEN, disc(1))
