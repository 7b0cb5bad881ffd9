"""Compute ObjectClear's losses of one batch: the removal and its attention; the image encoder's names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from models.diffusion.inpainting import encoded
from models.objectclear.network import ObjectClearNetwork, object_view
from models.training.distributed import BatchSlice
from models.training.losses.remover import (
    Denoising,
    RemoverLossConfig,
    TripletBatch,
    change_weight,
    denoising_loss,
)

_FOREGROUND_FRACTION = 0.1
"""A cell of the resized M_fg above this belongs to the foreground (papers.md, fact 17)."""


class ObjectClearLossConfig(RemoverLossConfig):
    """How one batch is augmented and weighted. The defaults are the paper's form."""

    mask_loss_weight: float = Field(
        default=0.01,
        ge=0,
        le=100,
        description="Weight of the mask loss beside the noise loss (ObjectClear: 0.01).",
    )
    sloppy_masks: bool = Field(
        default=False,
        exclude_if=lambda sloppy: not sloppy,
        description="Train on masks as people draw them: reshaped by at least 3 px, moved, or cut to a part. "
        "Off: ObjectClear's augmentation.",
    )


@dataclass(frozen=True, slots=True)
class ForegroundBatch(TripletBatch):
    """B triplets with the region that a removal must change."""

    foreground: Tensor
    """B×1×H×W float, 0 or 1: M_fg, the object and its effect."""


def object_clear_loss(
    network: ObjectClearNetwork,
    batch: ForegroundBatch,
    config: ObjectClearLossConfig,
    batch_slice: BatchSlice,
    maps: Mapping[str, Tensor],
) -> Tensor:
    """The noise (or clean-latent) loss, and the mask loss on every cross-attention.

    At full size these are the layers that the paper names: down_blocks 1–2, mid, up_blocks 0–1.

    Args:
        network: U-Net and object token are trained.
        batch: This slice's triplets.
        config: The weights of the terms.
        batch_slice: Draws timesteps and noise.
        maps: From ``capture_object_attention``. Keep its context open until the backward pass is over,
            because gradient checkpointing runs the forward pass again.

    Returns:
        Scalar.
    """
    clean, source = encoded(network.vae, batch.ground_truth, batch.source)
    task = Denoising(
        clean, source, batch.mask, change_weight(batch.mask, source, clean, config.change_weight)
    )
    conditioning = network.condition(batch.source, batch.mask)
    restored = denoising_loss(network, task, conditioning, config, batch_slice)
    return restored + config.mask_loss_weight * mask_loss(maps.values(), batch.foreground)


def mask_loss(maps: Iterable[Tensor], foreground: Tensor) -> Tensor:
    """Mean attention on the background − mean attention on the foreground + 1, for each head and layer.

    Args:
        maps: For each layer B×heads×h×w, 0..1.
        foreground: B×1×H×W float, 0 or 1.

    Returns:
        Scalar, 0..2: the mean over images, heads and layers. Each layer counts once.
    """
    alike = dict[torch.Size, list[Tensor]]()
    for attention in maps:
        alike.setdefault(attention.shape, []).append(attention)
    layer_weight = 1 / sum(map(len, alike.values()))
    total = foreground.new_ones(())
    for (images, heads, *size), layers in alike.items():
        inside = small_foreground(foreground, (size[0], size[1]))
        cells, weight = inside.sum((-2, -1), keepdim=True), layer_weight / (images * heads)
        # Without cells of a kind this divides by 0, and the result is not used.
        weights = torch.where(inside, -weight / cells, weight / (size[0] * size[1] - cells))
        total = total + (torch.stack(layers) * weights).sum()
    return total


def small_foreground(foreground: Tensor, size: tuple[int, int]) -> Tensor:
    """B×1×H×W, 0 or 1 → B×1×h×w bool: resized (bilinear, antialias), then binarised at 0.1."""
    small = torch.nn.functional.interpolate(
        foreground, size, mode="bilinear", antialias=True, align_corners=False
    )
    return small > _FOREGROUND_FRACTION


# The image encoder's loss: an object's embedding must tell its shape and its colour.


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
