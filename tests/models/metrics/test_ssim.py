"""SSIM against the published formula on scipy's filters."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from data_specs.metric import RemovedImage
from models.metrics.psnr import Ssim


def published_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al. 2004, equation 13: means, variances and covariance under an 11 px Gaussian window,
    mirrored at the border, as torchmetrics has it (the authors leave the border out)."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    channels = []
    for x, y in ((one[..., c].astype(float), other[..., c].astype(float)) for c in range(3)):

        def mean(values: np.ndarray) -> np.ndarray:
            return gaussian_filter(values, 1.5, truncate=5 / 1.5, mode="mirror")

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        channels.append(
            ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
        )
    return float(np.mean(channels))


def test_it_is_the_published_formula(images: list[RemovedImage]) -> None:
    found = Ssim().measure(images)
    assert found == pytest.approx([published_ssim(p.removal, p.ground_truth) for p in images], abs=1e-9)
    assert found[0] == pytest.approx(1)
    assert found == sorted(found, reverse=True)
