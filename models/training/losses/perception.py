"""SAM's loss of one batch: the mask from a box and some points, and how good the network thinks it is."""

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from models.perception.sam import Prompts, decode, embed, full_size


@dataclass(frozen=True, slots=True)
class PromptedBatch:
    """B squares, one object of each, and how it is asked for."""

    squares: Tensor
    """B×3×S×S float, [0, 255]."""
    masks: Tensor
    """B×1×S×S float, 0 or 1."""
    prompts: Prompts


def sam_loss(sam: Sam, batch: PromptedBatch) -> Tensor:
    """Cross-entropy a pixel and dice, added; and the squared error of the IoU that SAM expects."""
    logits, expected = decode(sam, embed(sam, batch.squares), batch.prompts)
    logits = full_size(logits, batch.masks.shape[-1])
    chance = logits.sigmoid()
    overlap = (chance * batch.masks).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (chance.sum((1, 2, 3)) + batch.masks.sum((1, 2, 3)) + 1)
    entropy = binary_cross_entropy_with_logits(logits, batch.masks)
    return entropy + dice.mean() + mse_loss(expected[:, 0], _iou(logits, batch.masks))


@torch.no_grad()
def _iou(logits: Tensor, masks: Tensor) -> Tensor:
    found, true = logits > 0, masks > 0.5
    return (found & true).sum((1, 2, 3)) / (found | true).sum((1, 2, 3)).clamp(min=1)
