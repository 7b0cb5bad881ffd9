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
        default=0.07, gt=0, le=2, description="Minimum difference of a certain change (OSOR: 0.07)."
    )
    weak: float = Field(
        default=0.025,
        gt=0,
        le=2,
        description="Minimum difference of a weak change. It counts only where it touches a certain change.",
    )
    above_noise: float = Field(
        default=5,
        ge=0,
        le=100,
        description="Both thresholds are at least this multiple of the image's noise, its median difference.",
    )
    rim_levels: float = Field(
        default=5,
        ge=0,
        le=255,
        description="Minimum difference of a pixel at a region's rim, in grey levels.",
    )
    rim_fraction: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Minimum difference of a rim pixel, as a fraction of the maximum nearby. JPEG "
        "artefacts near edges stay below it.",
    )
    min_area_fraction: float = Field(
        default=0.003,
        ge=0,
        le=1,
        description="Minimum area of a region, as a fraction of the image (OSOR: 2,000 px, 0.0076 of "
        "512×512).",
    )
    hole_fraction: float = Field(
        default=0.0019,
        ge=0,
        le=1,
        description="Maximum area of a hole that is filled, as a fraction of the image (OSOR: 500 px of "
        "512×512).",
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
