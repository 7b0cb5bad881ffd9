"""Build ObjectClear's network from published weights: SDXL-inpainting and a CLIP image encoder (fact 16)."""

from pathlib import Path
from typing import cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPVisionModelWithProjection

from data_specs.errors import ModelError
from models.diffusion.published import read_encoder
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting
from models.objectclear.network import PROMPT, ObjectClearNetwork, ObjectPrompt, ObjectTokenMLP

_CHANNELS = 9
"""Noise latent 4, mask 1, image latent 4."""


def object_clear_from_sdxl(parent: Path, image_encoder: Path, seed: int) -> ObjectClearNetwork:
    """Read U-Net, VAE and schedule, encode the constant prompt, and add an untrained object token.

    With SDXL-inpainting-0.1 and CLIP ViT-L/14 the parts have the sizes of ``build_full_object_clear``.

    Args:
        parent: SDXL-inpainting in diffusers' layout, with its text encoders.
        image_encoder: CLIP in transformers' layout: the whole model or its image side, with safetensors.
        seed: Seed of the object token's weights.

    Raises:
        ModelError: If a folder lacks a part, a part is damaged, or the U-Net is none for inpainting.
    """
    if not is_published_layout(parent):
        raise ModelError(
            f"{parent}: holds no text encoders, and the prompt needs them; name a folder of SDXL-inpainting "
            "as it was published"
        )
    base = read_sdxl_inpainting(parent, PROMPT)
    channels = base.unet.config["in_channels"]
    if channels != _CHANNELS:
        raise ModelError(
            f"{parent}: its U-Net has {channels} input channels in place of {_CHANNELS}; name SDXL-inpainting"
        )
    encoder = read_image_encoder(image_encoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        token = ObjectTokenMLP(encoder.config.projection_dim, base.unet.config["cross_attention_dim"])
    return ObjectClearNetwork(
        unet=base.unet,
        vae=base.vae,
        scheduler=cast(DDIMScheduler, base.scheduler),
        prompt=ObjectPrompt(hidden=base.prompt.hidden, pooled=base.prompt.pooled),
        image_encoder=encoder,
        object_token=token,
    )


def read_image_encoder(folder: Path) -> CLIPVisionModelWithProjection:
    """Read CLIP's image encoder in float32, frozen.

    Raises:
        ModelError: If the folder holds none.
    """
    try:
        return read_encoder(CLIPVisionModelWithProjection, folder)
    except ModelError as error:
        raise ModelError(f"{error}; name the folder of CLIP's image encoder") from error
