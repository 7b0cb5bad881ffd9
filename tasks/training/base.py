"""Train the base: the stand-in for SDXL-inpainting, made beforehand and shipped."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork, build_tiny_network
from models.diffusion.tiny_vae import PatchCodec
from models.images.tensors import masks_to_tensor, pictures_to_tensor
from models.training.distributed import training_device
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss
from models.training.share import Share
from tasks.training.base_pictures import base_triplet

BASE_LOSS = RemoverLossConfig(change_weight=3, noisy_share=0.5)
_CODEC_PICTURES = 400


def train_base(
    triplets: list[Triplet],
    config: TrainingConfig,
    latent_channels: int = 8,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> InpaintingNetwork:
    """Fit the codec and train the base on the triplets' sources.

    Args:
        triplets: Pictures with objects and the objects' shapes; the ground truths are not looked at.
        config: How long, how fast.
        latent_channels: The codec's k.
        checkpoint: Where to keep the state, to go on after a kill.
        progress: Told of every step.
    """
    step = max(1, len(triplets) // _CODEC_PICTURES)
    codec = PatchCodec(latent_channels=latent_channels)
    codec.fit(pictures_to_tensor([t.source for t in triplets[::step]]))
    network = build_tiny_network(codec, config.seed)

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[TripletBatch]:
        for number, part in itertools.product(range(start, stop), parts):
            draws = range(number * config.batch_size, (number + 1) * config.batch_size)[part]
            pairs = [base_triplet(triplets, draw, config.seed) for draw in draws]
            pictures = pictures_to_tensor([picture for picture, _ in pairs])
            yield TripletBatch(
                source=pictures, mask=masks_to_tensor([m for _, m in pairs]), ground_truth=pictures
            )

    def loss_of(batch: TripletBatch, share: Share) -> torch.Tensor:
        return remover_loss(network, batch, BASE_LOSS, share)

    network.to(training_device())
    train(network.unet, loss_of, batches, config, checkpoint, progress)
    return network.to("cpu")
