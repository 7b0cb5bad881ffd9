"""Compute the losses of SAM, Mask2Former, Depth Anything and YOLO for one batch."""

from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, mse_loss
from transformers import DepthAnythingForDepthEstimation, Mask2FormerForUniversalSegmentation

from models.perception.sam import Prompts, decode, embed, full_size


@dataclass(frozen=True, slots=True)
class PromptedBatch:
    """B squares with one object each, and the object's prompts."""

    squares: Tensor
    """B×3×S×S float, [0, 255]."""
    masks: Tensor
    """B×1×S×S float, 0 or 1."""
    prompts: Prompts


def sam_loss(sam: Sam, batch: PromptedBatch) -> Tensor:
    """SAM's loss: cross-entropy per pixel plus dice, plus the squared error of the IoU that SAM predicts.

    Returns:
        Scalar.
    """
    logits, expected = decode(sam, embed(sam, batch.squares), batch.prompts)
    logits = full_size(logits, batch.masks.shape[-1])
    chance = logits.sigmoid()
    overlap = (chance * batch.masks).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (chance.sum((1, 2, 3)) + batch.masks.sum((1, 2, 3)) + 1)
    entropy = binary_cross_entropy_with_logits(logits, batch.masks)
    return entropy + dice.mean() + mse_loss(expected[:, 0], _iou(logits, batch.masks))


@torch.no_grad()
def _iou(logits: Tensor, masks: Tensor) -> Tensor:
    predicted, true = logits > 0, masks > 0.5
    return (predicted & true).sum((1, 2, 3)) / (predicted | true).sum((1, 2, 3)).clamp(min=1)


# Mask2Former: its own Hungarian matching, with one mask for each class in an image.


@dataclass(frozen=True, slots=True)
class SurfaceBatch:
    """B images and the class of each pixel."""

    images: Tensor
    """B×3×S×S float, normalised."""
    classes: Tensor
    """B×S×S int64, the values of SurfaceClass."""


def surface_loss(
    network: Mask2FormerForUniversalSegmentation, batch: SurfaceBatch, generator: torch.Generator
) -> Tensor:
    """Class, mask and dice terms over all decoder layers, with transformers' weights.

    transformers compares masks at random points from torch's global generator. It is seeded from
    ``generator`` and restored afterwards.

    Returns:
        Scalar.
    """
    shown = [torch.unique(classes) for classes in batch.classes]
    masks = [
        (classes[None] == which[:, None, None]).float()
        for classes, which in zip(batch.classes, shown, strict=True)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        loss = network(pixel_values=batch.images, mask_labels=masks, class_labels=shown).loss
    return loss.sum()


# Depth Anything: inverse depth and its gradient, each against the truth in 1/m.

_SCALES = 3
"""Gradients are compared at full, half and quarter size, for edges and slopes."""


@dataclass(frozen=True, slots=True)
class DepthBatch:
    """B images and their inverse depths."""

    images: Tensor
    """B×3×S×S float, normalised."""
    inverse: Tensor
    """B×S×S float, 1/m; 0 = sky."""


def inverse_depth_loss(network: DepthAnythingForDepthEstimation, batch: DepthBatch) -> Tensor:
    """Mean absolute error of inverse depth and of its gradients, divided by the mean inverse depth.

    Returns:
        Scalar, without unit.
    """
    error = (network(pixel_values=batch.images).predicted_depth - batch.inverse)[:, None]
    level = batch.inverse.mean()
    loss = error.abs().mean()
    for scale in range(_SCALES):
        coarse = avg_pool2d(error, 2**scale)
        loss = loss + coarse.diff(dim=-1).abs().mean() + coarse.diff(dim=-2).abs().mean()
    return loss / level


# YOLO: ultralytics' own loss of boxes, their distribution, and classes.


@dataclass(frozen=True, slots=True)
class BoxBatch:
    """B squares and all N boxes in them."""

    squares: Tensor
    """B×3×S×S float, [0, 1]."""
    square_of: Tensor
    """N int64: the square of each box."""
    classes: Tensor
    """N int64."""
    boxes: Tensor
    """N×4 float, [0, 1]: centre x, centre y, width and height, in the square's sides."""


def yolo_loss(network: Any, batch: BoxBatch) -> Tensor:
    """The sum of ultralytics' three terms, divided by the number of images.

    Returns:
        Scalar.
    """
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
    """Compute the means and variances of batch normalisation anew, with the present weights.

    They follow the weights before averaging, and a checkpoint does not hold them. Computed here, a killed
    training ends like an uninterrupted one.

    Args:
        network: It ends in evaluation mode.
        batches: B×3×S×S each, of training images.
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
