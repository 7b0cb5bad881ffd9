"""Compute the remover's loss of one batch (RORem, training of the removal model)."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, Field
from torch import IntTensor, Tensor

from models.diffusion.inpainting import InpaintingNetwork, Schedule, encoded
from models.training.distributed import BatchSlice

Conditioning = tuple[Tensor, dict[str, Tensor]]
"""Tokens, and SDXL's additions to the timestep embedding."""


class RemoverLossConfig(BaseModel):
    """How one batch is weighted. The paper's form: all weights 1, uniform timesteps."""

    model_config = ConfigDict(frozen=True)

    change_weight: float = Field(
        default=1.0,
        ge=1,
        le=50,
        description="Weight of latents inside the mask or changed by the removal. The others weigh 1.",
    )
    noisy_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Fraction of timesteps that are drawn from the noisiest 40 %. The others are drawn "
        "from all.",
    )


@dataclass(frozen=True, slots=True)
class TripletBatch:
    """B triplets as tensors. H = W = size in pixels."""

    source: Tensor
    """B×3×H×W float, [-1, 1]."""
    mask: Tensor
    """B×1×H×W float, 0 or 1."""
    ground_truth: Tensor
    """B×3×H×W float, [-1, 1]."""


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """B triplets as latents: everything that the loss needs of the images."""

    source: Tensor
    """B×k×h×w."""
    masked: Tensor
    """B×k×h×w, of the source with zeros inside the mask."""
    clean: Tensor
    """B×k×h×w, of the ground truth."""
    mask: Tensor
    """B×1×h×w float, 0 or 1: the cell's own pixel is masked."""
    touched: Tensor
    """B×1×h×w float, 0 or 1: any pixel of the cell is masked."""


class Denoiser(Protocol):
    """What the loss needs of a network."""

    unet: UNet2DConditionModel

    @property
    def scheduler(self) -> Schedule:
        """The noise levels, and what the U-Net predicts."""
        ...


@dataclass(frozen=True, slots=True)
class Denoising:
    """B latents to restore from noise, and the U-Net's other inputs."""

    clean: Tensor
    """B×k×h×w, of the ground truth."""
    given: Tensor
    """B×k×h×w: RORem's masked source, ObjectClear's whole one."""
    mask: Tensor
    """B×1×H×W float, 0 or 1."""
    weight: Tensor
    """B×1×h×w, the weight of each latent's error."""


def remover_loss(
    network: InpaintingNetwork,
    batch: TripletBatch | LatentBatch,
    config: RemoverLossConfig,
    batch_slice: BatchSlice,
) -> Tensor:
    """Mean squared error of the U-Net's prediction (noise or clean latent, by the schedule).

    Returns:
        Scalar.
    """
    task, conditioning = restoration(network, batch, config.change_weight)
    return denoising_loss(network, task, conditioning, config, batch_slice)


def restoration(
    network: InpaintingNetwork, batch: TripletBatch | LatentBatch, weight: float
) -> tuple[Denoising, Conditioning]:
    """The restoration task, with ``weight`` where masked or changed, and the network's conditioning."""
    latents = batch if isinstance(batch, LatentBatch) else latents_of(network.vae, batch)
    cell_px = 2 ** (len(network.vae.config["block_out_channels"]) - 1)
    weights = change_weight(latents.touched, latents.source, latents.clean, weight)
    return (
        Denoising(latents.clean, latents.masked, latents.mask, weights),
        network.condition(len(latents.clean), *(side * cell_px for side in latents.clean.shape[-2:])),
    )


def latents_of(vae: Any, batch: TripletBatch) -> LatentBatch:
    """Encode the images. In ``masked`` the source is zero inside the mask (papers.md, fact 6)."""
    masked = batch.source * (1 - batch.mask)
    clean, masked, source = encoded(vae, batch.ground_truth, masked, batch.source)
    size = clean.shape[-2:]
    return LatentBatch(
        source=source,
        masked=masked,
        clean=clean,
        mask=torch.nn.functional.interpolate(batch.mask, size, mode="nearest"),
        touched=torch.nn.functional.adaptive_max_pool2d(batch.mask, size),
    )


def denoising_loss(
    network: Denoiser,
    task: Denoising,
    conditioning: Conditioning,
    config: RemoverLossConfig,
    batch_slice: BatchSlice,
) -> Tensor:
    """Noise ``task.clean``, restore it, weight the squared error.

    Args:
        network: U-Net and schedule.
        task: What to restore.
        conditioning: Tokens, and SDXL's additions to the timestep embedding.
        config: How timesteps are drawn.
        batch_slice: Draws timesteps and noise. The weights are normalised over all processes.

    Returns:
        Scalar.
    """
    clean = task.clean
    small_mask = torch.nn.functional.interpolate(task.mask, clean.shape[-2:], mode="nearest")
    steps = _draw_timesteps(len(clean), network.scheduler.config["num_train_timesteps"], config, batch_slice)
    noise = batch_slice.draw(len(clean), lambda n, g: torch.randn((n, *clean.shape[1:]), generator=g))
    steps, noise = steps.to(clean.device), noise.to(clean.device)
    noisy = network.scheduler.add_noise(clean, noise, cast(IntTensor, steps))
    hidden, added = conditioning
    inputs = torch.cat([noisy, small_mask, task.given], dim=1)
    predicted = network.unet(inputs, steps, hidden, added_cond_kwargs=added).sample
    target = clean if network.scheduler.config["prediction_type"] == "sample" else noise
    error = (predicted.float() - target).pow(2).mean(1, keepdim=True)
    return weighted_mean(error, task.weight, batch_slice)


def weighted_mean(error: Tensor, weight: Tensor, batch_slice: BatchSlice) -> Tensor:
    """Mean of B×1×h×w errors. The weights are normalised over all processes.

    Returns:
        Scalar.
    """
    return (error * weight).sum() / batch_slice.process_mean(weight.sum())


def _draw_timesteps(count: int, total: int, config: RemoverLossConfig, batch_slice: BatchSlice) -> Tensor:
    steps = batch_slice.draw(count, lambda n, g: torch.randint(0, total, (n,), generator=g))
    noisy = batch_slice.draw(count, lambda n, g: torch.randint(int(0.6 * total), total, (n,), generator=g))
    choose = batch_slice.draw(count, lambda n, g: torch.rand(n, generator=g)) < config.noisy_fraction
    return torch.where(choose, noisy, steps)


def change_weight(mask: Tensor, source: Tensor, clean: Tensor, weight: float) -> Tensor:
    """B×1×h×w: ``weight`` where the mask lies or the latent changes, 1 elsewhere."""
    inside = torch.nn.functional.adaptive_max_pool2d(mask, source.shape[-2:]) > 0
    changed = (source - clean).abs().amax(1, keepdim=True) > 0.1
    return torch.where(inside | changed, weight, 1.0)
