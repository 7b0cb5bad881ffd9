"""The remover's loss of one batch (RORem, training of the removal model)."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, Field
from torch import IntTensor, Tensor

from models.inpainting import InpaintingNetwork, Schedule
from models.training.share import Share


class RemoverLossConfig(BaseModel):
    """How one batch is weighed. The paper's form: all weights 1, uniform timesteps."""

    model_config = ConfigDict(frozen=True)

    change_weight: float = Field(
        default=1.0, ge=1, le=50, description="Weight of latents inside the mask or changed by the removal."
    )
    noisy_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of timesteps drawn from the noisiest 40 % instead of all."
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


class Denoiser(Protocol):
    """What the loss needs of a network."""

    unet: UNet2DConditionModel

    @property
    def scheduler(self) -> Schedule:
        """The noise levels, and what is predicted."""
        ...


@dataclass(frozen=True, slots=True)
class Denoising:
    """B latents to restore from noise, and what the U-Net is given beside the noise."""

    clean: Tensor
    """B×k×h×w, of the ground truth."""
    given: Tensor
    """B×k×h×w: RORem's masked source, ObjectClear's whole one."""
    mask: Tensor
    """B×1×H×W float, 0 or 1."""
    weight: Tensor
    """B×1×h×w, of each latent's error."""


def remover_loss(
    network: InpaintingNetwork, batch: TripletBatch, config: RemoverLossConfig, share: Share
) -> Tensor:
    """Mean squared error of the U-Net's prediction (noise, or the clean latent, as the schedule says).

    The source is zeroed inside the mask in the masked-image input (papers.md, fact 6).

    Returns:
        Scalar.
    """
    clean, masked, source = encoded(
        network.vae, batch.ground_truth, batch.source * (1 - batch.mask), batch.source
    )
    weight = change_weight(batch.mask, source, clean, config.change_weight)
    return denoising_loss(
        network,
        Denoising(clean, masked, batch.mask, weight),
        network.condition(len(clean), batch.source.shape[-1]),
        config,
        share,
    )


@torch.no_grad()
def encoded(vae: Any, *pictures: Tensor) -> tuple[Tensor, ...]:
    """Each B×3×H×W in [-1, 1] → B×k×h×w latents, scaled as the U-Net takes them; float32 in any autocast."""
    scale = vae.config["scaling_factor"]
    kind = pictures[0].device.type
    with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):  # "meta" has no autocast
        return tuple(vae.encode(each).latent_dist.mode() * scale for each in pictures)


def denoising_loss(
    network: Denoiser,
    task: Denoising,
    conditioning: tuple[Tensor, dict[str, Tensor]],
    config: RemoverLossConfig,
    share: Share,
) -> Tensor:
    """Noise ``task.clean``, have it restored, weigh the squared error.

    Args:
        network: U-Net and schedule.
        task: What is to be restored.
        conditioning: Tokens, and what SDXL adds to the timestep.
        config: How timesteps are drawn.
        share: Draws timesteps and noise; the weights are made even over all processes.

    Returns:
        Scalar.
    """
    clean = task.clean
    small_mask = torch.nn.functional.interpolate(task.mask, clean.shape[-2:], mode="nearest")
    steps = _draw_timesteps(len(clean), network.scheduler.config["num_train_timesteps"], config, share)
    noise = share.draw(len(clean), lambda n, g: torch.randn((n, *clean.shape[1:]), generator=g))
    steps, noise = steps.to(clean.device), noise.to(clean.device)
    noisy = network.scheduler.add_noise(clean, noise, cast(IntTensor, steps))
    hidden, added = conditioning
    inputs = torch.cat([noisy, small_mask, task.given], dim=1)
    predicted = network.unet(inputs, steps, hidden, added_cond_kwargs=added).sample
    target = clean if network.scheduler.config["prediction_type"] == "sample" else noise
    error = (predicted.float() - target).pow(2).mean(1, keepdim=True)
    return weighted_mean(error, task.weight, share)


def weighted_mean(error: Tensor, weight: Tensor, share: Share) -> Tensor:
    """Mean of B×1×h×w errors; the weights are made even over all processes.

    Returns:
        Scalar.
    """
    return (error * weight).sum() / share.process_mean(weight.sum())


def _draw_timesteps(count: int, total: int, config: RemoverLossConfig, share: Share) -> Tensor:
    steps = share.draw(count, lambda n, g: torch.randint(0, total, (n,), generator=g))
    noisy = share.draw(count, lambda n, g: torch.randint(int(0.6 * total), total, (n,), generator=g))
    choose = share.draw(count, lambda n, g: torch.rand(n, generator=g)) < config.noisy_share
    return torch.where(choose, noisy, steps)


def change_weight(mask: Tensor, source: Tensor, clean: Tensor, weight: float) -> Tensor:
    """B×1×h×w: ``weight`` where the mask lies or the latent changes, 1 elsewhere."""
    inside = torch.nn.functional.adaptive_max_pool2d(mask, source.shape[-2:]) > 0
    changed = (source - clean).abs().amax(1, keepdim=True) > 0.1
    return torch.where(inside | changed, weight, 1.0)
