"""Measure a removal against the truth: what a reviewer would see, as figures."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from data_specs.assessment import Assessment, QualityConfig
from models.images.mask_variants import dilated
from models.metrics.psnr import psnr

_NEAR_FRACTION = 3 / 64
"""Pixels this close to object and effect are measured together with them (fraction of the side)."""


def assess(
    removal: RgbImage, source: RgbImage, mask: Mask, ground_truth: RgbImage, quality: QualityConfig
) -> Assessment:
    """Assess one removal.

    Args:
        removal: H×W×3 uint8, the output of a model.
        source: H×W×3 uint8, with the object.
        mask: H×W bool, the tight mask.
        ground_truth: H×W×3 uint8, without object and effect.
        quality: The limits of a success.
    """
    changed = changed_region(source, mask, ground_truth, quality)
    near = dilated(changed, round(_NEAR_FRACTION * mask.shape[0]))
    sigma = quality.blur_fraction * mask.shape[0]
    residual = (
        np.abs(_blurred(removal, sigma) - _blurred(ground_truth, sigma)).max(axis=2) > quality.residual_levels
    )
    residual_px, spot = _largest(residual & near)
    background_px, _ = _largest(residual & ~near)
    reason = ""
    if residual_px >= quality.residual_fraction * mask.size:
        reason = "left-over" if (spot & dilated(mask, 1)).sum() * 2 >= residual_px else "effect left"
    elif background_px >= quality.background_fraction * mask.size:
        reason = "seam"
    return Assessment(
        success=not reason,
        reason=reason,
        residual_px=residual_px,
        background_px=background_px,
        psnr_effect=psnr(removal, ground_truth, changed),
        psnr_background=psnr(removal, ground_truth, ~changed),
    )


def changed_region(source: RgbImage, mask: Mask, ground_truth: RgbImage, quality: QualityConfig) -> Mask:
    """H×W bool: the object and its effect, where the removal must change the image."""
    difference = np.abs(source.astype(np.int16) - ground_truth).max(axis=2)
    return mask | (difference >= quality.effect_levels)


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a rate. (0, 1) if there are no trials."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959964
    rate = successes / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * float(np.sqrt(rate * (1 - rate) / count + z * z / (4 * count**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_psnr(assessments: Sequence[Assessment]) -> tuple[float, float]:
    """Mean dB on effect and on background."""
    return (
        float(np.mean([a.psnr_effect for a in assessments])),
        float(np.mean([a.psnr_background for a in assessments])),
    )


def _blurred(image: RgbImage, sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)


def _largest(spots: Mask) -> tuple[int, Mask]:
    """The largest connected spot, with its area in pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(spots.astype(np.uint8), connectivity=8)
    if count < 2:
        return 0, np.zeros_like(spots)
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return int(stats[best, cv2.CC_STAT_AREA]), labels == best
