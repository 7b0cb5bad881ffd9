"""ObjectClear's sampling loop: from noise to a clean latent, and where the object token was attended to.

The loop of diffusers' SDXL inpainting with the full picture in place of the masked one (papers.md, fact 16).
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from models.objectclear.attention import capture_object_attention
from models.objectclear.network import ObjectClearNetwork

OnStep = Callable[[int, Tensor, Tensor], Tensor]
"""Told of (step number, timestep, latents) after each step; gives the latents to go on with."""


@torch.no_grad()
def denoise(
    network: ObjectClearNetwork,
    source: Tensor,
    mask: Tensor,
    noise: Tensor,
    steps: int,
    guidance_scale: float,
    on_step: OnStep,
) -> tuple[Tensor, Tensor]:
    """Remove one object from each picture of a batch.

    Args:
        network: Its schedule is set to the steps.
        source: B×3×H×W float, [-1, 1].
        mask: B×1×H×W float, 0 or 1.
        noise: B×k×h×w float, the first latents.
        steps: Denoising steps.
        guidance_scale: At 1 and below no unconditional pass is run. That pass has zeros for the prompt, as
            SDXL has them for an empty one.
        on_step: See ``OnStep``.

    Returns:
        The removals B×3×H×W float, [-1, 1] before clipping; and the object token's attention in the first
        layer that has it, at the last step and of the conditional half (fact 19): B×heads×h×w.
    """
    unet, scale = network.unet, network.vae.config["scaling_factor"]
    # diffusers' schedulers take tensors for timesteps; their annotations say int.
    scheduler = cast(Any, network.scheduler)
    unet.eval()
    is_guided = guidance_scale > 1
    hidden, added = _conditioned(network, source, mask, is_guided)
    hidden, added = hidden.to(noise), {name: part.to(noise) for name, part in added.items()}
    seen = network.vae.encode(source).latent_dist.mode() * scale
    fixed = torch.cat([torch.nn.functional.interpolate(mask, seen.shape[-2:], mode="nearest"), seen], dim=1)
    scheduler.set_timesteps(steps, device=noise.device)
    timesteps = scheduler.timesteps

    def predict(latents: Tensor, step: Tensor) -> Tensor:
        inputs = torch.cat([scheduler.scale_model_input(latents, step), fixed], dim=1)
        inputs = torch.cat([inputs, inputs]) if is_guided else inputs
        predicted = unet(inputs, step, hidden, added_cond_kwargs=added).sample
        if not is_guided:
            return predicted
        unconditional, conditional = predicted.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    latents = noise * scheduler.init_noise_sigma
    for number, step in enumerate(timesteps[:-1]):
        latents = _next(scheduler, predict(latents, step), step, latents)
        latents = on_step(number, step, latents)
    with capture_object_attention(unet, network.prompt.object_position, "first") as maps:
        predicted = predict(latents, timesteps[-1])
    latents = _next(scheduler, predicted, timesteps[-1], latents)
    latents = on_step(len(timesteps) - 1, timesteps[-1], latents)
    attention = next(iter(maps.values()))[-len(source) :]
    return network.vae.decode(latents / scale).sample, attention


def _next(scheduler: Any, predicted: Tensor, step: Tensor, latents: Tensor) -> Tensor:
    return scheduler.step(predicted, step, latents).prev_sample


def _conditioned(
    network: ObjectClearNetwork, source: Tensor, mask: Tensor, is_guided: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The conditioning; under guidance, the unconditional half before it."""
    hidden, added = network.condition(source, mask)
    if not is_guided:
        return hidden, added
    nothing = {**added, "text_embeds": torch.zeros_like(added["text_embeds"])}
    both = {name: torch.cat([nothing[name], added[name]]) for name in added}
    return torch.cat([torch.zeros_like(hidden), hidden]), both
