"""PSNR: whole picture, inside object and effect, and the background outside them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.arrays import Mask, RgbImage
from data_specs.metric import MetricSpec, RemovedPicture

CEILING_DB = 60.0
"""dB for pictures that are equal, since a mean cannot hold infinity."""


def psnr(one: RgbImage, other: RgbImage, where: Mask) -> float:
    """Peak signal-to-noise ratio in dB over ``where``, at most 60; 60 too where ``where`` is empty."""
    if not where.any():
        return CEILING_DB
    squared = (one[where].astype(np.float32) - other[where].astype(np.float32)) ** 2
    error = float(squared.mean())
    return CEILING_DB if error == 0 else min(CEILING_DB, 10 * float(np.log10(255**2 / error)))


@dataclass(frozen=True, slots=True)
class Psnr:
    """A Metric: dB of 8-bit levels (peak 255) over a region of the picture."""

    spec: MetricSpec
    region: Callable[[RemovedPicture], Mask]
    """H×W bool; PSNR of an empty region is undefined."""

    @property
    def fingerprint(self) -> str:
        """Its name and ceiling; there are no weights."""
        return f"{self.spec.name} {CEILING_DB}"

    def measure(self, pictures: Sequence[RemovedPicture]) -> list[float]:
        """See ``Metric.measure``."""
        regions = [self.region(picture) for picture in pictures]
        return [
            psnr(picture.removal, picture.ground_truth, region) if region.any() else math.nan
            for picture, region in zip(pictures, regions, strict=True)
        ]


def psnr_metrics() -> list[Psnr]:
    """The three of the papers' tables (papers.md, facts 9 and 21)."""
    whole = f"Removal against ground truth, whole picture; equal pictures count as {CEILING_DB:g} dB."
    inside = "The same inside M_fg: the object and its effects."
    background = "The same outside M_fg, which a removal must leave as it was."
    return [
        Psnr(
            MetricSpec("psnr", "PSNR", "dB", "higher", 2, whole), lambda picture: np.ones_like(picture.mask)
        ),
        Psnr(
            MetricSpec("psnr_fg", "PSNR-FG", "dB", "higher", 2, inside), lambda picture: picture.effect_region
        ),
        Psnr(
            MetricSpec("psnr_bg", "PSNR-BG", "dB", "higher", 2, background),
            lambda picture: ~picture.effect_region,
        ),
    ]
