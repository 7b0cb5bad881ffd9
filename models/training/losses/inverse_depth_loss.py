"""Depth Anything's loss of one batch: inverse depth and its gradient, each against the truth in 1/m."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import avg_pool2d
from transformers import DepthAnythingForDepthEstimation

_SCALES = 3
"""Gradients are compared at full, half and quarter size: edges and slopes."""


@dataclass(frozen=True, slots=True)
class DepthBatch:
    """B pictures and their inverse depths."""

    pictures: Tensor
    """B×3×S×S float, normalised."""
    inverse: Tensor
    """B×S×S float, 1/m; 0 = sky."""


def inverse_depth_loss(network: DepthAnythingForDepthEstimation, batch: DepthBatch) -> Tensor:
    """Mean absolute error plus that of the gradients, over the mean inverse depth: no unit is left."""
    error = (network(pixel_values=batch.pictures).predicted_depth - batch.inverse)[:, None]
    level = batch.inverse.mean()
    loss = error.abs().mean()
    for scale in range(_SCALES):
        coarse = avg_pool2d(error, 2**scale)
        loss = loss + coarse.diff(dim=-1).abs().mean() + coarse.diff(dim=-2).abs().mean()
    return loss / level
