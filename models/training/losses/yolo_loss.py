"""YOLO's loss of one batch, ultralytics' own: boxes, their distribution, and classes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class BoxBatch:
    """B squares and all N boxes in them."""

    squares: Tensor
    """B×3×S×S float, [0, 1]."""
    square_of: Tensor
    """N int64: whose box it is."""
    classes: Tensor
    """N int64."""
    boxes: Tensor
    """N×4 float, [0, 1]: middle x, middle y, width and height, in the square's sides."""


def yolo_loss(network: Any, batch: BoxBatch) -> Tensor:
    """The three parts added, a picture: a number."""
    parts, _ = network.loss(
        {
            "img": batch.squares,
            "batch_idx": batch.square_of.float(),
            "cls": batch.classes.float()[:, None],
            "bboxes": batch.boxes,
        }
    )
    return parts.sum() / len(batch.squares)


@torch.no_grad()
def settle_normalisation(network: nn.Module, batches: list[Tensor]) -> None:
    """Measure the batch normalisations' means and variances anew, by the weights as they now are.

    They follow the weights before averaging, and a checkpoint does not hold them: measured here, a
    training that was killed ends as an unbroken one.

    Args:
        network: Left in evaluation mode.
        batches: B×3×S×S each, of training pictures.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
    network.train()
    for squares in batches:
        network(squares)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
