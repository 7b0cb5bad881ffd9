"""Measure PSNR (whole image, inside object and effect, background) and SSIM."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from data_specs.arrays import Mask, RgbImage
from data_specs.metric import MetricSpec, RemovedImage

CEILING_DB = 60.0
"""Value in dB for equal images. A mean cannot hold infinity."""


def psnr(one: RgbImage, other: RgbImage, where: Mask) -> float:
    """Peak signal-to-noise ratio in dB over a region.

    Args:
        one: H×W×3 uint8.
        other: H×W×3 uint8.
        where: H×W bool, the region.

    Returns:
        At most 60. Also 60 if the region is empty.
    """
    if not where.any():
        return CEILING_DB
    squared = (one[where].astype(np.float32) - other[where].astype(np.float32)) ** 2
    error = float(squared.mean())
    return CEILING_DB if error == 0 else min(CEILING_DB, 10 * float(np.log10(255**2 / error)))


@dataclass(frozen=True, slots=True)
class Psnr:
    """A Metric: dB of 8-bit levels (peak 255) over a region of the image."""

    spec: MetricSpec
    region: Callable[[RemovedImage], Mask]
    """H×W bool. The PSNR of an empty region is undefined."""

    @property
    def fingerprint(self) -> str:
        """Names the metric and its maximum. There are no weights."""
        return f"{self.spec.name} {CEILING_DB}"

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``."""
        regions = [self.region(image) for image in images]
        return [
            psnr(image.removal, image.ground_truth, region) if region.any() else math.nan
            for image, region in zip(images, regions, strict=True)
        ]


def psnr_metrics() -> list[Psnr]:
    """The three PSNRs of the papers' tables (papers.md, facts 9 and 21)."""
    whole = f"Removal against ground truth, over the whole image. Equal images count as {CEILING_DB:g} dB."
    inside = "The same inside M_fg: the object and its effects."
    background = "The same outside M_fg, where a removal must change nothing."
    return [
        Psnr(MetricSpec("psnr", "PSNR", "dB", "higher", 2, whole), lambda image: np.ones_like(image.mask)),
        Psnr(MetricSpec("psnr_fg", "PSNR-FG", "dB", "higher", 2, inside), lambda image: image.effect_region),
        Psnr(
            MetricSpec("psnr_bg", "PSNR-BG", "dB", "higher", 2, background),
            lambda image: ~image.effect_region,
        ),
    ]


# SSIM by torchmetrics.


class Ssim:
    """A Metric: Wang et al. 2004, Gaussian window 11×11 px with σ 1.5, mean over the three channels.

    torchmetrics mirrors the image at its border. The authors' program leaves out 5 px of the border instead.
    """

    spec = MetricSpec(
        "ssim",
        "SSIM",
        "",
        "higher",
        3,
        "Structural similarity to the ground truth (Wang et al. 2004; 11 px Gaussian window, range 255).",
    )
    fingerprint = "ssim 11 1.5 255"

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """See ``Metric.measure``. Each side must be at least 11 px."""
        similarity = structural_similarity_index_measure(
            _levels([image.removal for image in images]),
            _levels([image.ground_truth for image in images]),
            gaussian_kernel=True,
            sigma=1.5,
            kernel_size=11,
            reduction="none",
            data_range=255.0,
        )
        assert isinstance(similarity, torch.Tensor)
        return [float(value) for value in similarity]


def _levels(images: Sequence[RgbImage]) -> torch.Tensor:
    """N images H×W×3 uint8 → N×3×H×W float64, 0 to 255. In float32, variances of flat parts cancel out."""
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).astype(np.float64))
