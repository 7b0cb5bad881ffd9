"""Train the base model: the shipped substitute for SDXL-inpainting."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from data_specs.arrays import Mask, RgbImage
from data_specs.triplet import Triplet
from models.diffusion.inpainting import InpaintingNetwork, build_tiny_network
from models.diffusion.tiny_vae import PatchCodec
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.training.distributed import BatchSlice, training_device
from models.training.loop import Progress, TrainingConfig, train
from models.training.losses.remover import RemoverLossConfig, TripletBatch, remover_loss

# The training data of the base: images WITH objects, and random or object-shaped holes to fill.
#
# The base takes the place of SDXL-inpainting: it never sees a clean image without its objects. It fills holes
# well, and often paints an object back (RORem table 1: the base succeeds in 7.6 % of cases).

_OWN_OBJECT, _OTHER_OBJECT, _BOX = 0.2, 0.6, 0.8
"""Cumulative probabilities of the kinds of holes. The rest are brush strokes."""


def base_triplet(triplets: list[Triplet], draw: int, seed: int) -> tuple[RgbImage, Mask]:
    """Make image and hole number ``draw``.

    Args:
        triplets: Their sources are the images. Their masks are the object shapes.
        draw: Number of the example.
        seed: Another seed gives other holes.

    Returns:
        H×W×3 uint8 image with its objects, H×W bool hole.
    """
    rng = np.random.default_rng([seed, draw])
    own = triplets[int(rng.integers(len(triplets)))]
    other = triplets[int(rng.integers(len(triplets)))]
    kind = rng.random()
    if kind < _OWN_OBJECT:
        hole = _grown(own.mask, int(rng.integers(0, 4)))
    elif kind < _OTHER_OBJECT:
        hole = _moved(_grown(other.mask, int(rng.integers(0, 4))), rng)
    elif kind < _BOX:
        hole = _box(own.mask.shape, rng)
    else:
        hole = _strokes(own.mask.shape, rng)
    flip = rng.random() < 0.5
    image = own.source[:, ::-1] if flip else own.source
    return np.ascontiguousarray(image), np.ascontiguousarray(hole[:, ::-1] if flip else hole)


def _grown(mask: Mask, pixels: int) -> Mask:
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def _moved(mask: Mask, rng: np.random.Generator) -> Mask:
    """The shape at a random position, never completely outside the image."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    down = int(rng.integers(0, height)) - int(rows.mean())
    right = int(rng.integers(0, width)) - int(columns.mean())
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(mask.astype(np.uint8), shift, (width, height)) > 0


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    height, width = shape
    tall, wide = (int(s * rng.uniform(0.12, 0.45)) for s in shape)
    top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
    mask = np.zeros(shape, bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


def _strokes(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    mask = np.zeros(shape, np.uint8)
    corners = (rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * shape[::-1]).astype(np.int32)
    thickness = int(shape[0] * rng.uniform(0.06, 0.16))
    cv2.polylines(mask, [corners.reshape(-1, 1, 2)], isClosed=False, color=1, thickness=thickness)
    return mask > 0


BASE_LOSS = RemoverLossConfig(change_weight=3, noisy_fraction=0.5)
_CODEC_IMAGES = 400


def train_base(
    triplets: list[Triplet],
    config: TrainingConfig,
    latent_channels: int = 8,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> InpaintingNetwork:
    """Fit the VAE and train the base on the triplets' sources.

    Args:
        triplets: Images with objects, and the objects' shapes. The ground truths are not used.
        config: Number of steps, learning rate and the like.
        latent_channels: The number of channels of the VAE's latents.
        checkpoint: The path of the state. Training continues from it after a kill.
        progress: Called after every step.
    """
    step = max(1, len(triplets) // _CODEC_IMAGES)
    codec = PatchCodec(latent_channels=latent_channels)
    codec.fit(images_to_tensor([t.source for t in triplets[::step]]))
    network = build_tiny_network(codec, config.seed)

    def batches(start: int, stop: int, parts: Sequence[slice]) -> Iterator[TripletBatch]:
        for number, part in itertools.product(range(start, stop), parts):
            draws = range(number * config.batch_size, (number + 1) * config.batch_size)[part]
            pairs = [base_triplet(triplets, draw, config.seed) for draw in draws]
            images = images_to_tensor([image for image, _ in pairs])
            yield TripletBatch(
                source=images, mask=masks_to_tensor([m for _, m in pairs]), ground_truth=images
            )

    def loss_of(batch: TripletBatch, batch_slice: BatchSlice) -> torch.Tensor:
        return remover_loss(network, batch, BASE_LOSS, batch_slice)

    network.to(training_device())
    train(network.unet, loss_of, batches, config, checkpoint, progress)
    return network.to("cpu")
