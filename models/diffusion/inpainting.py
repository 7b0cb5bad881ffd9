"""Build, read and save an inpainting network: SDXL-inpainting's parts at any size, in diffusers' classes.

A folder holds ``unet/``, ``vae/`` and ``scheduler/`` in diffusers' layout. It also holds
``prompt.safetensors``, the cached embedding of the one prompt in use. RORem trains and infers with the
empty prompt.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_specs.errors import ModelError
from models.diffusion.tiny_vae import PatchCodec

Schedule = DDIMScheduler | LCMScheduler
"""The sampling schedule: DDIM with many steps, or LCM with few steps after distillation (papers.md, fact
7)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's embedding, in the form that SDXL's U-Net takes."""

    hidden: Tensor
    """1×T×D float, the tokens from the text encoders."""
    pooled: Tensor
    """1×P float."""

    def to(self, device: torch.device | str) -> Self:
        """Return the same prompt on a device."""
        return replace(self, hidden=self.hidden.to(device), pooled=self.pooled.to(device))


@dataclass(slots=True)
class InpaintingNetwork:
    """U-Net, codec (or VAE), schedule and prompt: everything that a remover needs."""

    unet: UNet2DConditionModel
    vae: Any
    """AutoencoderKL or PatchCodec: ``encode(x).latent_dist``, ``decode(z).sample``, ``config``."""
    scheduler: Schedule
    prompt: Prompt

    def to(self, device: torch.device | str) -> Self:
        """Move all parts to a device. Returns the network."""
        for part in (self.unet, self.vae):
            part.to(cast(Any, device))
        self.prompt = self.prompt.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write ``folder`` in diffusers' layout, with safetensors only."""
        self.unet.save_pretrained(folder / "unet", safe_serialization=True)
        self.vae.save_pretrained(folder / "vae", safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"hidden": self.prompt.hidden, "pooled": self.prompt.pooled}, folder / "prompt.safetensors")

    def save_small(self, folder: Path) -> None:
        """Write like ``save``, but in half precision.

        For a network that is shipped and fine-tuned, not resumed.
        """
        replace(self, unet=copy.deepcopy(self.unet).half()).save(folder)

    def fingerprint(self) -> str:
        """20 hexadecimal digits that name weights, prompt and settings. The folder has no influence."""
        tensors = {"prompt.hidden": self.prompt.hidden, "prompt.pooled": self.prompt.pooled}
        for part, module in (("unet", self.unet), ("vae", self.vae)):
            tensors |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
        return fingerprint_of(tensors, [self.unet.config, self.vae.config, self.scheduler.config])

    def condition(self, count: int, height: int, width: int) -> tuple[Tensor, dict[str, Tensor]]:
        """SDXL's conditioning for ``count`` images of ``height``×``width`` pixels.

        Returns:
            The text tokens, count×T×D. A dict with the pooled text, count×P, and the size ids, count×6. The
            ids are (original size, crop corner, target size), each as (height, width), as in SDXL.
        """
        ids = self.prompt.pooled.new_tensor([[height, width, 0, 0, height, width]])
        added = {"text_embeds": self.prompt.pooled.expand(count, -1), "time_ids": ids.expand(count, -1)}
        return self.prompt.hidden.expand(count, -1, -1), added


def fingerprint_of(tensors: Mapping[str, Tensor], configs: Sequence[Mapping[str, Any]]) -> str:
    """20 hexadecimal digits that name a network.

    Args:
        tensors: All weights and constants, by name.
        configs: The settings of its parts, always in the same order.
    """
    digest = hashlib.sha256()
    for config in configs:
        # Names with an underscore describe the folder, the library and the process, not the network.
        settings = {name: value for name, value in config.items() if not name.startswith("_")}
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:20]


def load_network(folder: Path) -> InpaintingNetwork:
    """Read a folder that ``save`` wrote.

    Raises:
        ModelError: If a part is missing or damaged. The message names the folder.
    """
    try:
        prompt = load_file(folder / "prompt.safetensors")
        kind = json.loads((folder / "vae" / "config.json").read_text())["_class_name"]
        coder = AutoencoderKL if kind == "AutoencoderKL" else PatchCodec
        unet = UNet2DConditionModel.from_pretrained(
            folder / "unet", use_safetensors=True, torch_dtype=torch.float32
        )
        return InpaintingNetwork(
            unet=cast(UNet2DConditionModel, unet),
            vae=coder.from_pretrained(folder / "vae", use_safetensors=True, torch_dtype=torch.float32),
            scheduler=_load_schedule(folder / "scheduler"),
            prompt=Prompt(hidden=prompt["hidden"].float(), pooled=prompt["pooled"].float()),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: cannot be used as an inpainting network ({error}); download or train it again"
        ) from error


def _load_schedule(folder: Path) -> Schedule:
    kind = json.loads((folder / "scheduler_config.json").read_text())["_class_name"]
    return cast(Schedule, (LCMScheduler if kind == "LCMScheduler" else DDIMScheduler).from_pretrained(folder))


def build_tiny_network(codec: PatchCodec, seed: int) -> InpaintingNetwork:
    """Build a small untrained version of SDXL's U-Net: 2.3 M parameters, text_time conditioning.

    Args:
        codec: A fitted codec with k latent channels. The U-Net has 2k + 1 input channels.
        seed: Seed of the initial weights.
    """
    k = codec.config["latent_channels"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=2 * k + 1,
            out_channels=k,
            layers_per_block=1,
            block_out_channels=(48, 96),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=cast(Any, (2, 4)),
            norm_num_groups=8,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=32 + 6 * 8,
        )
        prompt = Prompt(hidden=torch.randn(1, 2, 32), pooled=torch.randn(1, 32))
    # At this size prediction of x0 learns faster than prediction of noise (decision 0003 chooses it).
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    return InpaintingNetwork(unet=unet, vae=codec, scheduler=scheduler, prompt=prompt)


SamplingPrecision = Literal["float32", "bfloat16", "float16"]


def autocast_to(precision: SamplingPrecision, device: torch.device) -> AbstractContextManager[object]:
    """Inside, layers compute in this precision on the device. Float32 turns autocast off."""
    if device.type == "meta":  # it has no autocast
        return nullcontext()
    if precision == "float32":
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, getattr(torch, precision))


# Encoding of images as latents.


@torch.no_grad()
def encoded(vae: Any, *images: Tensor) -> tuple[Tensor, ...]:
    """Encode images as latents, in float32 under any autocast, scaled as the U-Net takes them.

    Args:
        vae: AutoencoderKL or PatchCodec.
        images: Any number of tensors, each B×3×H×W float, [-1, 1].

    Returns:
        One B×k×h×w float32 for each tensor.
    """
    scale = vae.config["scaling_factor"]
    with autocast_to("float32", images[0].device):
        return tuple(vae.encode(image).latent_dist.mode() * scale for image in images)
