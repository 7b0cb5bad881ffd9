"""Train ObjectClear's network from shards of triplets (papers.md, facts 16 to 18)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_specs.assessment import QualityConfig
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from models.images.tensors import masks_to_tensor, pictures_to_tensor
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import ObjectClearNetwork
from models.training.augmentation import ForegroundPair, augmented
from models.training.distributed import RunningConfig, moved_to, refuse_cached_latents, training_device
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.object_clear import ForegroundBatch, ObjectClearLossConfig, object_clear_loss
from models.training.share import Share
from tasks.evaluation.success import changed_region
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace
from tasks.training.data import TripletSamples, drawn_triplets

_QUALITY = QualityConfig()


def train_object_clear(
    workspace: Workspace,
    refs: Sequence[ShardRef],
    network: ObjectClearNetwork,
    config: TrainingConfig,
    loss: ObjectClearLossConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    running: RunningConfig | None = None,
) -> list[float]:
    """Train U-Net and object token in place; goes on from the checkpoint after a kill.

    Args:
        workspace: Where the shards lie.
        refs: Shards of triplets, all of one size and square.
        network: Its other parts stay frozen.
        config: How long, how fast.
        loss: How one batch is weighed.
        checkpoint: Where to keep the state.
        progress: Told of every step.
        running: How it runs on these machines.

    Returns:
        The loss of each step.
    """
    running, device = running or RunningConfig(), training_device()
    refuse_cached_latents(running, "ObjectClear draws another cut and other colours of a pair each time")
    network.to(device)
    trained = nn.ModuleDict({"unet": network.unet, "object_token": network.object_token})

    def loss_of(triplets: Sequence[Triplet], share: Share) -> torch.Tensor:
        batch = moved_to(foreground_batch(triplets, share), device)
        return object_clear_loss(network, batch, loss, share, maps)

    with (
        ShardReader(workspace, refs) as reader,
        capture_object_attention(network.unet, network.prompt.object_position) as maps,
    ):
        samples = TripletSamples(reader, reader.keys)
        batches = drawn_triplets(
            samples, [range(len(samples))], config.batch_size, config.seed, running.loader_workers
        )
        losses = train(trained, loss_of, batches, config, checkpoint, progress, running)
    network.to("cpu")
    return losses


def foreground_batch(triplets: Sequence[Triplet], share: Share) -> ForegroundBatch:
    """The triplets augmented, each by draws of its own from the step's, as tensors."""
    seeds = share.draw(len(triplets), lambda n, g: torch.randint(2**62, (n,), generator=g)).tolist()
    pairs = [
        augmented(foreground_pair(triplet), min(triplet.mask.shape), np.random.default_rng(seed))
        for triplet, seed in zip(triplets, seeds, strict=True)
    ]
    return ForegroundBatch(
        source=pictures_to_tensor([p.source for p in pairs]),
        mask=masks_to_tensor([p.mask for p in pairs]),
        ground_truth=pictures_to_tensor([p.ground_truth for p in pairs]),
        foreground=masks_to_tensor([p.foreground for p in pairs]),
    )


def foreground_pair(triplet: Triplet) -> ForegroundPair:
    """The triplet with its M_fg: the mask, and wherever source and ground truth differ."""
    foreground = changed_region(triplet.source, triplet.mask, triplet.ground_truth, _QUALITY)
    return ForegroundPair(triplet.source, triplet.ground_truth, triplet.mask, foreground)
