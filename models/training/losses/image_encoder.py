"""Compute the image encoder's loss of one batch: an object's embedding must tell its shape and its colour."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from models.objectclear.network import object_view


@dataclass(frozen=True, slots=True)
class NamedBatch:
    """B objects as tensors, with their names as class numbers."""

    source: Tensor
    """B×3×H×W float, [-1, 1]."""
    mask: Tensor
    """B×1×H×W float, 0 or 1."""
    shape: Tensor
    """B int64."""
    color: Tensor
    """B int64."""


class ObjectNamer(nn.Module):
    """The encoder with a linear classifier for each kind of name.

    The classifiers are discarded afterwards.
    """

    def __init__(self, encoder: CLIPVisionModelWithProjection, shapes: int, colors: int) -> None:
        """Add classifiers of this many names to an encoder. The encoder is trained in place."""
        super().__init__()
        self.encoder = encoder
        self.shape = nn.Linear(encoder.config.projection_dim, shapes)
        self.color = nn.Linear(encoder.config.projection_dim, colors)

    def forward(self, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """B×3×H×W in [-1, 1] and B×1×H×W → B×shapes and B×colors logits."""
        embedding = self.encoder(pixel_values=object_view(self.encoder, source, mask)).image_embeds
        return self.shape(embedding), self.color(embedding)


def naming_loss(namer: ObjectNamer, batch: NamedBatch) -> Tensor:
    """Cross-entropy of both names, added.

    Returns:
        Scalar.
    """
    shape, color = namer(batch.source, batch.mask)
    entropy = nn.functional.cross_entropy
    return entropy(shape, batch.shape) + entropy(color, batch.color)


@torch.no_grad()
def naming_accuracy(namer: ObjectNamer, batch: NamedBatch) -> tuple[float, float]:
    """Fractions of objects, 0..1, whose shape, and whose colour, is named correctly."""
    shape, color = namer.eval()(batch.source, batch.mask)
    right = [(shape.argmax(1) == batch.shape), (color.argmax(1) == batch.color)]
    return float(right[0].float().mean()), float(right[1].float().mean())
