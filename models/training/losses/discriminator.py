"""Compute the discriminator's loss of one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.rorem.discriminator import DiscriminatorNetwork
from models.training.distributed import BatchSlice


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


def discriminator_loss(network: DiscriminatorNetwork, batch: ReviewBatch, batch_slice: BatchSlice) -> Tensor:
    """Binary cross-entropy on the logit. It is a proper score: its optimum is the probability of a YES.

    The released script regresses an unbounded softplus to {0, 1} instead (papers.md, fact 5). Colours of
    source and removal are jittered alike, because an object's colour does not decide whether it is gone.

    Returns:
        Scalar.
    """
    source, removal = _jittered(batch.source, batch.removal, batch_slice)
    logits = network(source, batch.mask, removal)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.label)


def _jittered(source: Tensor, removal: Tensor, batch_slice: BatchSlice) -> tuple[Tensor, Tensor]:
    """Both images with their channels in one random order, each channel scaled by 0.75 to 1.25."""
    count = len(source)
    order = batch_slice.draw(count, _channel_orders).to(source.device)
    order = order[:, :, None, None].expand(-1, -1, *source.shape[2:])
    gain = 0.75 + 0.5 * batch_slice.draw(count, lambda n, g: torch.rand(n, 3, 1, 1, generator=g)).to(
        source.device
    )
    return ((source.gather(1, order) + 1) * gain - 1), ((removal.gather(1, order) + 1) * gain - 1)


def _channel_orders(count: int, generator: torch.Generator) -> Tensor:
    return torch.stack([torch.randperm(3, generator=generator) for _ in range(count)])
