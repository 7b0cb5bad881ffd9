"""The discriminator's loss of one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.discriminator import DiscriminatorNetwork


@dataclass(frozen=True, slots=True)
class ReviewBatch:
    """B reviewed candidates as tensors."""

    source: Tensor
    """B×3×H×W float, [-1, 1]."""
    mask: Tensor
    """B×1×H×W float, 0 or 1."""
    removal: Tensor
    """B×3×H×W float, [-1, 1]."""
    label: Tensor
    """B float, 1 = YES."""


def discriminator_loss(network: DiscriminatorNetwork, batch: ReviewBatch) -> Tensor:
    """Binary cross-entropy on the logit: the proper score whose optimum is the probability of a YES.

    The released script regresses an unbounded softplus to {0, 1}; see papers.md, fact 5.
    """
    logits = network(batch.source, batch.mask, batch.removal)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.label)
