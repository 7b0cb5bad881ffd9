"""Mask2Former's loss of one batch: its own Hungarian matching, a mask for each class that a picture shows."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Mask2FormerForUniversalSegmentation


@dataclass(frozen=True, slots=True)
class SurfaceBatch:
    """B pictures and the class of each of their pixels."""

    pictures: Tensor
    """B×3×S×S float, normalised."""
    classes: Tensor
    """B×S×S int64, the values of SurfaceClass."""


def surface_loss(
    network: Mask2FormerForUniversalSegmentation, batch: SurfaceBatch, generator: torch.Generator
) -> Tensor:
    """Class, mask and dice terms over all decoder layers, as transformers weighs them.

    The points at which masks are compared are drawn by transformers from torch's global generator, which is
    seeded from ``generator`` and put back.
    """
    shown = [torch.unique(classes) for classes in batch.classes]
    masks = [
        (classes[None] == which[:, None, None]).float()
        for classes, which in zip(batch.classes, shown, strict=True)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        loss = network(pixel_values=batch.pictures, mask_labels=masks, class_labels=shown).loss
    return loss.sum()
