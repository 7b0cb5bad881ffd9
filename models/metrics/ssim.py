"""SSIM: structural similarity of removal and ground truth, by torchmetrics."""

from collections.abc import Sequence

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from data_specs.arrays import RgbImage
from data_specs.metric import MetricSpec, RemovedPicture


class Ssim:
    """A Metric: Wang et al. 2004, Gaussian window 11×11 px of σ 1.5, mean over the three channels.

    torchmetrics mirrors the picture at its border; the authors' own program leaves 5 px of it out.
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

    def measure(self, pictures: Sequence[RemovedPicture]) -> list[float]:
        """See ``Metric.measure``. Pictures must be at least 11 px a side."""
        similarity = structural_similarity_index_measure(
            _levels([picture.removal for picture in pictures]),
            _levels([picture.ground_truth for picture in pictures]),
            gaussian_kernel=True,
            sigma=1.5,
            kernel_size=11,
            reduction="none",
            data_range=255.0,
        )
        assert isinstance(similarity, torch.Tensor)
        return [float(value) for value in similarity]


def _levels(pictures: Sequence[RgbImage]) -> torch.Tensor:
    """N pictures H×W×3 uint8 → N×3×H×W float64, 0 to 255: variances of flat parts cancel in float32."""
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float64))
