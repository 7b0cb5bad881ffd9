"""Compute the loss of latent consistency distillation for one batch (papers.md, fact 7).

The teacher's path leads from noise to image. A student learns to jump from any point of the path to its end.
Its jump from one point must equal its jump from the next point. One DDIM step of the teacher finds the next
point.
"""

from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import IntTensor, Tensor

from models.diffusion.inpainting import InpaintingNetwork
from models.training.distributed import BatchSlice
from models.training.losses.remover import (
    Conditioning,
    Denoiser,
    Denoising,
    LatentBatch,
    TripletBatch,
    restoration,
    weighted_mean,
)

_SIGMA_DATA, _TIMESTEP_SCALING = 0.5, 10.0
"""Constants of the boundary condition, as in diffusers' LCMScheduler."""


class LcmLossConfig(BaseModel):
    """How one batch is distilled. The defaults are the paper's."""

    model_config = ConfigDict(frozen=True)

    solver_steps: int = Field(
        default=50,
        ge=2,
        le=1000,
        description="Number of evenly spaced points on the teacher's path (RORem: 50).",
    )
    guidance_low: float = Field(
        default=3.0,
        ge=0,
        le=30,
        description="Minimum guidance of the teacher (RORem: 3). It is drawn for each sample.",
    )
    guidance_high: float = Field(
        default=10.0,
        ge=0,
        le=30,
        description="Maximum guidance of the teacher (RORem: 10). 0 means one pass without guidance.",
    )
    change_weight: float = Field(
        default=1.0,
        ge=1,
        le=50,
        description="Weight of latents inside the mask or changed by the removal. The others weigh 1.",
    )

    @model_validator(mode="after")
    def _guidance_is_in_order(self) -> "LcmLossConfig":
        if self.guidance_low > self.guidance_high:
            raise ValueError("guidance_low must not be above guidance_high")
        return self


def lcm_loss(
    teacher: InpaintingNetwork,
    student: UNet2DConditionModel,
    batch: TripletBatch | LatentBatch,
    config: LcmLossConfig,
    batch_slice: BatchSlice,
) -> Tensor:
    """Mean squared difference of the student's jumps from two neighbouring points of the teacher's path.

    Returns:
        Scalar.
    """
    task, conditioning = restoration(teacher, batch, config.change_weight)
    return consistency_loss(teacher, student, task, conditioning, config, batch_slice)


def consistency_loss(
    teacher: Denoiser,
    student: Any,
    task: Denoising,
    conditioning: Conditioning,
    config: LcmLossConfig,
    batch_slice: BatchSlice,
) -> Tensor:
    """Noise ``task.clean``, jump from there. Let the teacher take one step, jump from there. Compare.

    Args:
        teacher: U-Net and schedule.
        student: A U-Net of the same kind. Only it gets a gradient, and only from its first jump.
        task: What to restore.
        conditioning: The student's conditioning, and the teacher's if it has no guidance.
        config: The points of the path, and the teacher's guidance.
        batch_slice: Draws points, noise and guidance. The weights are normalised over all processes.

    Returns:
        Scalar.
    """
    clean, schedule = task.clean, teacher.scheduler
    small_mask = torch.nn.functional.interpolate(task.mask, clean.shape[-2:], mode="nearest")
    spacing = schedule.config["num_train_timesteps"] // config.solver_steps
    points = batch_slice.draw(
        len(clean), lambda n, g: torch.randint(1, config.solver_steps + 1, (n,), generator=g)
    )
    noise = batch_slice.draw(len(clean), lambda n, g: torch.randn((n, *clean.shape[1:]), generator=g))
    chance = batch_slice.draw(len(clean), lambda n, g: torch.rand(n, generator=g))
    start = (points * spacing - 1).to(clean.device)
    end = (start - spacing).clamp(min=0)
    noisy = schedule.add_noise(clean, noise.to(clean.device), cast(IntTensor, start))

    def predicted(unet: Any, latent: Tensor, steps: Tensor, condition: Conditioning) -> Tensor:
        inputs = torch.cat([latent, small_mask, task.given], dim=1)
        return unet(inputs, steps, condition[0], added_cond_kwargs=condition[1]).sample.float()

    def jump(latent: Tensor, steps: Tensor) -> Tensor:
        skip, out = boundary_scalings(steps)
        restored, _ = parts_of(schedule, predicted(student, latent, steps, conditioning), latent, steps)
        return skip * latent + out * restored

    ours = jump(noisy, start)
    with torch.no_grad():
        parts = parts_of(schedule, predicted(teacher.unet, noisy, start, conditioning), noisy, start)
        if config.guidance_high > 0:
            blank = predicted(teacher.unet, noisy, start, _blank(conditioning))
            guidance = config.guidance_low + (config.guidance_high - config.guidance_low) * chance
            parts = _guided(parts, parts_of(schedule, blank, noisy, start), guidance.to(clean.device))
        target = jump(_recomposed(schedule, *parts, end), end)
    return weighted_mean((ours - target).pow(2).mean(1, keepdim=True), task.weight, batch_slice)


def boundary_scalings(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the latent and of the restored latent in a jump. At timestep 0 a jump is all latent.

    Args:
        steps: B timesteps.

    Returns:
        Two tensors B×1×1×1.
    """
    scaled = _column(steps.float() * _TIMESTEP_SCALING)
    norm = scaled**2 + _SIGMA_DATA**2
    return _SIGMA_DATA**2 / norm, scaled / norm.sqrt()


def parts_of(schedule: Any, predicted: Tensor, noisy: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The clean latent and the noise of ``noisy``, according to a prediction.

    Args:
        schedule: Says what is predicted: the noise or the clean latent.
        predicted: B×k×h×w, by the U-Net.
        noisy: B×k×h×w.
        steps: B timesteps.

    Returns:
        Clean latent and noise, each B×k×h×w.
    """
    kept = _kept(schedule, steps)
    if schedule.config["prediction_type"] == "sample":
        return predicted, (noisy - kept.sqrt() * predicted) / (1 - kept).sqrt()
    return (noisy - (1 - kept).sqrt() * predicted) / kept.sqrt(), predicted


def _recomposed(schedule: Any, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """DDIM's step: the same clean latent with less of the same noise."""
    kept = _kept(schedule, steps)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise


def _guided(
    conditioned: tuple[Tensor, Tensor], blank: tuple[Tensor, Tensor], guidance: Tensor
) -> tuple[Tensor, Tensor]:
    """Move away from the teacher's prediction for a blank prompt. Guidance 0 returns ``conditioned``."""
    clean, noise = (
        one + _column(guidance) * (one - other) for one, other in zip(conditioned, blank, strict=True)
    )
    return clean, noise


def _blank(conditioning: Conditioning) -> Conditioning:
    """No prompt at all: zeros, as SDXL was trained with. This is not the same as the empty prompt."""
    hidden, added = conditioning
    return torch.zeros_like(hidden), {**added, "text_embeds": torch.zeros_like(added["text_embeds"])}


def _kept(schedule: Any, steps: Tensor) -> Tensor:
    """Remaining fraction of the clean latent's variance at each of B timesteps: B×1×1×1."""
    return _column(schedule.alphas_cumprod.to(steps.device)[steps])


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
