"""Measure ObjectClear's network on triplets: where its object token looks, and what it leaves behind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_specs.arrays import Mask, RgbImage
from data_specs.triplet import Triplet
from models.images.tensors import masks_to_tensor, pictures_to_tensor, tensor_to_pictures
from models.objectclear.network import ObjectClearNetwork
from models.objectclear.object_clear_sampling import denoise
from models.training.losses.object_clear import small_foreground
from tasks.objectclear.train_model import foreground_pair

_BATCH = 32
_ATTENDED = 0.5
"""Of a map scaled to 0..1: what is above it is attended to (papers.md, fact 19)."""


@dataclass(slots=True)
class PlainObjectClear:
    """A RemovalModel without attention-guided fusion, to compare networks and nothing else."""

    network: ObjectClearNetwork
    steps: int = 4

    @property
    def model_hash(self) -> str:
        """Of the weights."""
        return self.network.fingerprint()

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``."""
        return [
            removal
            for pictures, _ in self._sampled(sources, masks, seeds)
            for removal in tensor_to_pictures(pictures)
        ]

    def attention(self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]) -> Tensor:
        """N×1×h×w float, 0..1: the map that would guide the fusion, mean over heads, each scaled to 0..1."""
        maps = torch.cat([attention for _, attention in self._sampled(sources, masks, seeds)]).mean(
            1, keepdim=True
        )
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        return (maps - low) / (high - low).clamp(min=1e-12)

    def _sampled(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(sources), _BATCH):
            part = slice(start, start + _BATCH)
            device = self.network.unet.device
            source, mask = (
                tensor.to(device)
                for tensor in (pictures_to_tensor(sources[part]), masks_to_tensor(masks[part]))
            )
            shape = self.network.vae.encode(source[:1]).latent_dist.mode().shape[1:]
            noise = torch.stack(
                [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds[part]]
            ).to(device)
            yield denoise(
                self.network, source, mask, noise, self.steps, 1.0, lambda _n, _step, latents: latents
            )


def attention_iou(remover: PlainObjectClear, triplets: Sequence[Triplet]) -> float:
    """Mean IoU of the attended cells with M_fg on the map's own grid, as the mask loss reduces it."""
    maps = remover.attention(
        [t.source for t in triplets], [t.mask for t in triplets], [int(t.key[:12], 16) for t in triplets]
    )
    foreground = masks_to_tensor([foreground_pair(t).foreground for t in triplets]).to(maps.device)
    inside = small_foreground(foreground, (maps.shape[-2], maps.shape[-1]))
    attended = maps > _ATTENDED
    shared = (attended & inside).sum((1, 2, 3)) / (attended | inside).sum((1, 2, 3)).clamp(min=1)
    return float(shared.mean())
