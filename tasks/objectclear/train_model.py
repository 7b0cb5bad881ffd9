"""Train ObjectClear's network on shards of triplets, and measure it (papers.md, facts 16 to 18)."""

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from data_specs.arrays import Mask, RgbImage
from data_specs.assessment import QualityConfig
from data_specs.shard import ShardRef
from data_specs.triplet import EffectTriplet, Triplet
from models.images.tensors import images_to_tensor, masks_to_tensor, tensor_to_images
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import ObjectClearNetwork, build_tiny_image_encoder
from models.objectclear.pipeline import denoise
from models.training.augmentation import ForegroundPair, augmented
from models.training.distributed import (
    BatchSlice,
    DistributedConfig,
    refuse_cached_latents,
    to_device,
    training_device,
)
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.object_clear import (
    ForegroundBatch,
    NamedBatch,
    ObjectClearLossConfig,
    ObjectNamer,
    naming_accuracy,
    naming_loss,
    object_clear_loss,
    small_foreground,
)
from models.training.samplers import MixedBatches
from tasks.evaluation.success import changed_region
from tasks.sources.synthetic.samples import HUES, SyntheticSample
from tasks.sources.synthetic.scene import SHAPES
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import Groups, TripletSamples, drawn_triplets

_QUALITY = QualityConfig()


def train_object_clear(
    workspace: Workspace,
    refs: Sequence[ShardRef],
    network: ObjectClearNetwork,
    config: TrainingConfig,
    loss: ObjectClearLossConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> list[float]:
    """Train U-Net and object token in place. Continues from the checkpoint after a kill.

    Args:
        workspace: The workspace of the shards.
        refs: Shards of triplets, all of one size and square.
        network: The network to train. Its other parts stay frozen.
        config: Number of steps, learning rate and the like.
        loss: The weights of the loss.
        checkpoint: The path where the training keeps its state.
        progress: Called after every step.
        distributed: How the training runs on this machine.

    Returns:
        The loss of each step.
    """
    with ShardReader(workspace, refs) as reader:
        samples = TripletSamples(reader, range(len(reader)))
        return fit_object_clear(
            network, samples, [range(len(samples))], config, loss, checkpoint, progress, distributed
        )


def fit_object_clear(
    network: ObjectClearNetwork,
    samples: TripletSamples,
    groups: Groups,
    config: TrainingConfig,
    loss: ObjectClearLossConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    distributed: DistributedConfig | None = None,
) -> list[float]:
    """Train as `train_object_clear` does, on samples drawn from groups or from buckets of one size.

    A sample is cut to a square of its shorter side. The square sides of a batch must be equal.
    """
    distributed, device = distributed or DistributedConfig(), training_device()
    refuse_cached_latents(distributed, "ObjectClear draws another cut and other colours of a pair each time")
    network.to(device)
    trained = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})

    def loss_of(triplets: Sequence[Triplet], batch_slice: BatchSlice) -> torch.Tensor:
        batch = to_device(foreground_batch(triplets, batch_slice, loss.sloppy_masks), device)
        return object_clear_loss(network, batch, loss, batch_slice, maps)

    with capture_object_attention(network.unet, network.prompt.object_position) as maps:
        batches = drawn_triplets(samples, groups, config.batch_size, config.seed, distributed.loader_workers)
        losses = train(trained, loss_of, batches, config, checkpoint, progress, distributed)
    network.to("cpu")
    return losses


def foreground_batch(
    triplets: Sequence[Triplet], batch_slice: BatchSlice, sloppy: bool = False
) -> ForegroundBatch:
    """The triplets as tensors, each augmented with its own random numbers from the step's seed.

    ``sloppy`` is that of ``augmented``.
    """
    seeds = batch_slice.draw(len(triplets), lambda n, g: torch.randint(2**62, (n,), generator=g)).tolist()
    pairs = [
        augmented(foreground_pair(triplet), min(triplet.mask.shape), np.random.default_rng(seed), sloppy)
        for triplet, seed in zip(triplets, seeds, strict=True)
    ]
    return ForegroundBatch(
        source=images_to_tensor([p.source for p in pairs]),
        mask=masks_to_tensor([p.mask for p in pairs]),
        ground_truth=images_to_tensor([p.ground_truth for p in pairs]),
        foreground=masks_to_tensor([p.foreground for p in pairs]),
    )


def foreground_pair(triplet: Triplet) -> ForegroundPair:
    """The triplet with its M_fg: the stored one, or the mask and wherever source and ground truth differ."""
    if isinstance(triplet, EffectTriplet):
        foreground = triplet.foreground
    else:
        foreground = changed_region(triplet.source, triplet.mask, triplet.ground_truth, _QUALITY)
    return ForegroundPair(triplet.source, triplet.ground_truth, triplet.mask, foreground)


# The tiny image encoder in the place of CLIP. It learns to name a synthetic object's shape and colour.


@dataclass(frozen=True, slots=True, eq=False)
class NamedObject:
    """A synthetic object with its names as numbers."""

    source: RgbImage
    mask: Mask
    shape: int
    """Its index in the synthetic renderer's ``SHAPES``."""
    color: int
    """The index in ``HUES`` that is nearest to its mean colour."""


class NamingScore(BaseModel):
    """How well unseen objects are named, beside the best answer that ignores the image."""

    model_config = ConfigDict(frozen=True)

    shape: float
    color: float
    shape_by_chance: float
    """The fraction of the most frequent shape."""
    color_by_chance: float


def named_object(rendered: SyntheticSample) -> NamedObject:
    """The sample's object. Its colour is read from the image."""
    red, green, blue = rendered.source[rendered.mask].mean(axis=0) / 255
    hue = colorsys.rgb_to_hsv(float(red), float(green), float(blue))[0]
    return NamedObject(
        source=rendered.source,
        mask=rendered.mask,
        shape=[str(shape) for shape in SHAPES].index(rendered.class_name),
        color=round(hue * len(HUES)) % len(HUES),
    )


def train_image_encoder(
    objects: Sequence[NamedObject],
    unseen: Sequence[NamedObject],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[CLIPVisionModelWithProjection, NamingScore]:
    """Train on ``objects`` and measure on ``unseen``.

    Args:
        objects: At least one object.
        unseen: Objects of scenes that ``objects`` do not show.
        config: Number of steps, learning rate and the like.
        checkpoint: The path of the state. Training continues from it after a kill.
        progress: Called after every step.

    Returns:
        The encoder, and how well it names unseen objects.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        namer = ObjectNamer(build_tiny_image_encoder(config.seed), len(SHAPES), len(HUES))

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[NamedBatch]:
        order = MixedBatches([range(len(objects))], config.batch_size, config.seed, start, stop, parts)
        for draws in order:
            yield _collated([(objects[place], flip) for place, flip in draws])

    def loss_of(batch: NamedBatch, _: BatchSlice) -> torch.Tensor:
        return naming_loss(namer, batch)

    train(namer, loss_of, batches, config, checkpoint, progress)
    return namer.encoder, _score(namer, _collated([(sample, False) for sample in unseen]))


def _score(namer: ObjectNamer, batch: NamedBatch) -> NamingScore:
    shape, color = naming_accuracy(namer, batch)
    by_chance = [float(torch.bincount(names).max()) / len(names) for names in (batch.shape, batch.color)]
    return NamingScore(shape=shape, color=color, shape_by_chance=by_chance[0], color_by_chance=by_chance[1])


def _collated(draws: Sequence[tuple[NamedObject, bool]]) -> NamedBatch:
    step = {True: -1, False: 1}
    return NamedBatch(
        source=images_to_tensor([sample.source[:, :: step[flip]] for sample, flip in draws]),
        mask=masks_to_tensor([sample.mask[:, :: step[flip]] for sample, flip in draws]),
        shape=torch.tensor([sample.shape for sample, _ in draws]),
        color=torch.tensor([sample.color for sample, _ in draws]),
    )


# Measures on triplets: where the object token looks, and what the network leaves behind.

_BATCH = 32
_ATTENDED = 0.5
"""In a map scaled to 0..1, values above this count as attended (papers.md, fact 19)."""


@dataclass(slots=True)
class PlainObjectClear:
    """A RemovalModel without attention-guided fusion, to compare only the networks."""

    network: ObjectClearNetwork
    steps: int = 4

    @property
    def model_hash(self) -> str:
        """The hash of the weights."""
        return self.network.fingerprint()

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``."""
        return [
            removal
            for images, _ in self._sampled(sources, masks, seeds)
            for removal in tensor_to_images(images)
        ]

    def attention(self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]) -> Tensor:
        """N×1×h×w float, 0..1: the map that would guide the fusion, the mean of all heads scaled to 0..1."""
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
                for tensor in (images_to_tensor(sources[part]), masks_to_tensor(masks[part]))
            )
            shape = self.network.vae.encode(source[:1]).latent_dist.mode().shape[1:]
            noise = torch.stack(
                [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds[part]]
            ).to(device)
            yield denoise(
                self.network, source, mask, noise, self.steps, 1.0, lambda _n, _step, latents: latents
            )


def attention_iou(remover: PlainObjectClear, triplets: Sequence[Triplet]) -> float:
    """Mean IoU of the attended cells with M_fg on the map's own grid, reduced as in the mask loss."""
    maps = remover.attention(
        [t.source for t in triplets], [t.mask for t in triplets], [int(t.key[:12], 16) for t in triplets]
    )
    foreground = masks_to_tensor([foreground_pair(t).foreground for t in triplets]).to(maps.device)
    inside = small_foreground(foreground, (maps.shape[-2], maps.shape[-1]))
    attended = maps > _ATTENDED
    shared = (attended & inside).sum((1, 2, 3)) / (attended | inside).sum((1, 2, 3)).clamp(min=1)
    return float(shared.mean())
