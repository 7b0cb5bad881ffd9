"""Read SDXL-inpainting from its published folder. The text encoders run once and are then freed."""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

from data_specs.errors import ModelError
from models.diffusion.inpainting import InpaintingNetwork, Prompt


def is_published_layout(folder: Path) -> bool:
    """Whether ``folder`` holds a published pipeline with text encoders.

    If not, it is a folder from ``save``.
    """
    return (folder / "text_encoder_2").is_dir() and not (folder / "prompt.safetensors").exists()


def read_sdxl_inpainting(folder: Path, words: str = "") -> InpaintingNetwork:
    """Read the network, with ``words`` as its only prompt. RORem's prompt is empty.

    Args:
        folder: In diffusers' layout for SDXL inpainting, with safetensors.
        words: The prompt.

    Raises:
        ModelError: If a part is missing or damaged. The message names the folder.
    """
    try:
        unet, vae = (
            part.from_pretrained(folder / name, use_safetensors=True, torch_dtype=torch.float32)
            for name, part in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
        )
        settings = DDIMScheduler.load_config(folder / "scheduler", local_files_only=True)
        # The published schedule is of another class and lacks these. The values are those of diffusers' SDXL
        # pipelines.
        scheduler = DDIMScheduler.from_config(cast(Any, settings), clip_sample=False, set_alpha_to_one=False)
        return InpaintingNetwork(
            unet=cast(UNet2DConditionModel, unet),
            vae=vae,
            scheduler=cast(DDIMScheduler, scheduler),
            prompt=embedded(folder, words),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: cannot be used as SDXL-inpainting ({error}); download it again"
        ) from error


@torch.no_grad()
def embedded(folder: Path, words: str) -> Prompt:
    """Encode a prompt with both text encoders.

    The tokens are the penultimate layers of both, concatenated. The pooled text is the second encoder's.
    """
    hidden, pooled = [], torch.empty(0)
    for number, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        tokenizer = AutoTokenizer.from_pretrained(folder / f"tokenizer{number}", local_files_only=True)
        encoder = kind.from_pretrained(
            folder / f"text_encoder{number}", use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
        tokens = tokenizer(
            words,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        said = encoder(tokens.input_ids, output_hidden_states=True)
        hidden.append(said.hidden_states[-2])
        pooled = said[0]
    return Prompt(hidden=torch.cat(hidden, -1), pooled=pooled)
