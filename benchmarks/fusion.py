"""Time attention-guided fusion at 1024² against a plain scipy version in float64. Goal: ratio >= 20.

Both follow papers.md, fact 19, with its lengths as stated. They must agree to within one grey level. The
banded form, the project's default, is timed too.

Run: python -m benchmarks.fusion [--json]
"""

import argparse

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.arrays import RgbImage
from models.images.fusion import (
    FusionForm,
    FusionLengths,
    add_change,
    attended_region,
    blend_weight,
    fused_change,
    scaled_attention,
)

GOAL = 20
SIDE_PX = 1024
HEADS, CELLS = 10, 64
"""SDXL's first cross-attention layer at this size."""
LEVELS = 5


@ends_in_time
def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    source, generated, attention = _images()

    def ours(form: FusionForm) -> RgbImage:
        region = attended_region(scaled_attention(attention), SIDE_PX, SIDE_PX)
        lengths = FusionLengths()
        weight = blend_weight(region, lengths)
        return add_change(source, fused_change(source, generated, weight, lengths, form))

    def plain() -> NDArray[np.uint8]:
        return plain_fusion(source, generated, attention)

    seconds = alternate(
        {"plain scipy": plain, "ours, paper": lambda: ours("paper"), "ours, banded": lambda: ours("banded")},
        arguments.runs,
    )
    figures = {
        **ratio_of(seconds, "ours, paper", "plain scipy"),
        "ratio_banded": ratio_of(seconds, "ours, banded", "plain scipy")["ratio"],
        "goal": GOAL,
        "greatest_difference_levels": int(np.abs(ours("paper").astype(int) - plain()).max()),
        "machine": machine(),
    }
    report("fusion at 1024²", seconds, 1, figures, arguments.as_json)


def plain_fusion(source: RgbImage, generated: RgbImage, attention: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Fact 19 step by step, each step over the whole frame."""
    mean = attention.astype(np.float64).mean(axis=0)
    scaled = (mean - mean.min()) / (mean.max() - mean.min())
    region = np.kron(scaled > 0.5, np.ones((SIDE_PX // CELLS, SIDE_PX // CELLS), bool))
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21)) > 0
    wide = ndimage.binary_dilation(region, ellipse)
    weight = np.maximum(ndimage.gaussian_filter(wide.astype(np.float64), 2, radius=4), region)[..., None]
    outside = source - _low(source) + _low(generated)
    return np.clip(np.round(weight * generated + (1 - weight) * outside), 0, 255).astype(np.uint8)


def _low(image: RgbImage) -> NDArray[np.float64]:
    low = image.astype(np.float64)
    for level in range(LEVELS):
        step = 2**level
        kernel = np.zeros((2 * step + 1, 2 * step + 1))
        kernel[::step, ::step] = np.outer([1, 2, 1], [1, 2, 1]) / 16
        low = np.stack([ndimage.convolve(low[..., channel], kernel) for channel in range(3)], axis=2)
    return low


def _images() -> tuple[RgbImage, RgbImage, NDArray[np.float32]]:
    """Two grainy images that differ everywhere, and attention on a ninth of them."""
    rng = np.random.default_rng(0)
    soft = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (SIDE_PX, SIDE_PX))
    source, generated = (
        np.clip(soft + rng.normal(shift, 8, soft.shape), 0, 255).astype(np.uint8) for shift in (0, 5)
    )
    attention = rng.random((HEADS, CELLS, CELLS), np.float32) * 0.1
    attention[:, 24:45, 18:40] += 0.8
    return source, generated, attention


if __name__ == "__main__":
    main()
