"""Remove objects with RORem's remover: the inpainting network, run as in diffusers' SDXL inpainting pipeline.

The pipeline itself accepts only 4 latent channels, but the tiny codec has 8. ``tests/models`` checks that
both give the same result where both can run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import IntTensor, Tensor

from data_specs.arrays import Mask, RgbImage
from data_specs.errors import ModelError
from data_specs.keys import derive_key
from models.diffusion.inpainting import InpaintingNetwork, SamplingPrecision, autocast_to
from models.images.tensors import images_to_tensor, indices_by_size, masks_to_tensor, tensor_to_images


def _is_as_before(precision: str) -> bool:
    """Float32 is left out of all records: keys from before there was a choice stay as they are."""
    return precision == "float32"


class SamplingConfig(BaseModel):
    """How a removal is sampled (papers.md, fact 8)."""

    model_config = ConfigDict(frozen=True)

    steps: int = Field(
        default=4, ge=1, le=1000, description="Number of denoising steps (RORem: 50, ObjectClear: 20)."
    )
    strength: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Strength of the initial noise. 1 starts from noise alone. RORem's 0.99 keeps a trace "
        "of the source.",
    )
    batch_size: int = Field(default=32, ge=1, description="Number of images in one forward pass.")
    precision: SamplingPrecision = Field(
        default="float32",
        exclude_if=_is_as_before,
        description="Precision of the U-Net's forward pass (autocast). Weights, latents and the VAE stay "
        "float32.",
    )

    @model_validator(mode="after")
    def _leaves_a_step(self) -> Self:
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"strength {self.strength} leaves no step of {self.steps}; raise one of them")
        return self


@dataclass(slots=True)
class InpaintingRemover:
    """A RemovalModel over an inpainting network."""

    network: InpaintingNetwork
    config: SamplingConfig
    _hash: str = field(default="", repr=False)

    @property
    def model_hash(self) -> str:
        """Names weights and sampling. Computed once, so train before you ask for it."""
        if not self._hash:
            sampling = f"{self.config.steps} {self.config.strength}"
            if not _is_as_before(self.config.precision):
                sampling += f" {self.config.precision}"
            self._hash = derive_key("remover", self.network.fingerprint(), sampling)
        return self._hash

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``."""
        removals: dict[int, RgbImage] = {}
        device = self.network.unet.device
        for places in indices_by_size(sources):
            for start in range(0, len(places), self.config.batch_size):
                part = places[start : start + self.config.batch_size]
                source = images_to_tensor([sources[place] for place in part]).to(device)
                mask = masks_to_tensor([masks[place] for place in part]).to(device)
                result = self.sample(source, mask, [seeds[place] for place in part])
                removals.update(zip(part, tensor_to_images(result), strict=True))
        return [removals[place] for place in range(len(sources))]

    @torch.no_grad()
    def sample(self, source: Tensor, mask: Tensor, seeds: list[int]) -> Tensor:
        """Denoise from noise, or from the noised source if the strength is below 1.

        Args:
            source: B×3×H×W float, [-1, 1].
            mask: B×1×H×W float, 0 or 1.
            seeds: B seeds of the noise. It is drawn on the CPU, so it is the same on every device.

        Returns:
            B×3×H×W float, [-1, 1] before clipping.
        """
        network = self.network
        network.unet.eval()
        scale = network.vae.config["scaling_factor"]
        masked = network.vae.encode(source * (1 - mask)).latent_dist.mode() * scale
        small_mask = torch.nn.functional.interpolate(mask, masked.shape[-2:], mode="nearest")
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack(
            [torch.randn(masked.shape[1:], generator=generator) for generator in generators]
        ).to(masked.device)
        timesteps = self._timesteps()
        latent = noise
        if self.config.strength < 1:
            clean = network.vae.encode(source).latent_dist.mode() * scale
            latent = network.scheduler.add_noise(
                clean, noise, cast(IntTensor, timesteps[:1].expand(len(clean)))
            )
        hidden, added = network.condition(len(source), *source.shape[-2:])
        for step in timesteps:
            inputs = torch.cat([latent, small_mask, masked], dim=1)
            with autocast_to(self.config.precision, inputs.device):
                predicted = network.unet(inputs, step, hidden, added_cond_kwargs=added).sample.float()
            latent = self._stepped(predicted, step, latent, generators)
        return network.vae.decode(latent / scale).sample

    def _stepped(
        self, predicted: Tensor, step: Tensor, latent: Tensor, generators: list[torch.Generator]
    ) -> Tensor:
        """One step of the network's schedule. LCM's adds fresh noise. DDIM's does not use the generators."""
        # The schedulers take a scalar timestep and a list of generators. Their annotations say int and one
        # generator.
        stepped = self.network.scheduler.step(
            predicted, cast(Any, step), latent, generator=cast(Any, generators), return_dict=False
        )
        return stepped[0]

    def _timesteps(self) -> Tensor:
        """Descending timesteps. A strength below 1 leaves out the noisiest ones, as in diffusers' pipelines.

        Raises:
            ModelError: If a distilled network shall run more steps than its teacher's path had points.
        """
        most = self.network.scheduler.config.get("original_inference_steps")
        if most is not None and self.config.steps > most:
            raise ModelError(
                f"a distilled remover takes at most {most} steps, not {self.config.steps}; use four"
            )
        self.network.scheduler.set_timesteps(self.config.steps)
        skipped = self.config.steps - min(int(self.config.steps * self.config.strength), self.config.steps)
        return self.network.scheduler.timesteps[skipped:]
