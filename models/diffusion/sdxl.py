"""Read SDXL-inpainting from its published folder. The text encoders run once and are then freed."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

from data_specs.errors import ModelError, first_line
from models.diffusion.inpainting import InpaintingNetwork, Prompt
from models.diffusion.published import FAULTS, read_encoder, read_part

_PARTS = ("unet", "vae", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_INSTEAD = "use SDXL-inpainting, such as diffusers/stable-diffusion-xl-1.0-inpainting-0.1"


def is_published_layout(folder: Path) -> bool:
    """Whether ``folder`` holds a published pipeline, or the remains of one.

    If not, it is a folder from ``save``.
    """
    signs = ("model_index.json", "text_encoder", "text_encoder_2", "tokenizer", "transformer")
    return not (folder / "prompt.safetensors").exists() and any((folder / sign).exists() for sign in signs)


def read_sdxl_inpainting(folder: Path, words: str = "") -> InpaintingNetwork:
    """Read the network, with ``words`` as its only prompt. RORem's prompt is empty.

    Args:
        folder: In diffusers' layout for SDXL inpainting, with safetensors, plain or fp16.
        words: The prompt.

    Raises:
        ModelError: If a part is missing or damaged, or the network is another one. The message names the
            folder and what to use instead.
    """
    check_sdxl_inpainting(folder)
    prompt = embedded(folder, words)
    unet, vae = read_part(UNet2DConditionModel, folder / "unet"), read_part(AutoencoderKL, folder / "vae")
    return InpaintingNetwork(unet, vae, published_schedule(folder / "scheduler"), prompt)


def check_sdxl_inpainting(folder: Path) -> None:
    """Look at the settings of a published folder before gigabytes are read.

    Raises:
        ModelError: If it is not SDXL inpainting, or a part is missing.
    """
    if (folder / "transformer").is_dir():
        raise ModelError(f"{folder}: its network is a transformer, not SDXL's U-Net; {_INSTEAD}")
    absent = [part for part in _PARTS if not (folder / part).is_dir()]
    if absent:
        raise ModelError(
            f"{folder}: has no {' and no '.join(absent)}; download the whole folder "
            "(`cleanplate doctor --profile full` prints the command)"
        )
    unet, vae = (_settings(folder / part / "config.json") for part in ("unet", "vae"))
    kind = unet.get("_class_name")
    if kind != "UNet2DConditionModel" or vae.get("_class_name") != "AutoencoderKL":
        raise ModelError(
            f"{folder}: holds a {kind} with a {vae.get('_class_name')}, not SDXL's networks; {_INSTEAD}"
        )
    if unet.get("addition_embed_type") != "text_time":
        raise ModelError(f"{folder}: its U-Net takes no sizes, so it is not SDXL's; {_INSTEAD}")
    latent = vae.get("latent_channels", 4)
    if unet.get("in_channels", 4) != 2 * latent + 1:
        raise ModelError(
            f"{folder}: its U-Net has {unet.get('in_channels', 4)} input channels, and inpainting needs "
            f"{2 * latent + 1} (latents, mask, masked image); {_INSTEAD}"
        )


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({first_line(error)}); download it again") from error


def published_schedule(folder: Path) -> DDIMScheduler:
    """DDIM on the noise levels of a published schedule.

    The published one is of another class (Euler) and lacks two settings. It clips nothing, and its last step
    leaves no noise.

    Raises:
        ModelError: If the folder holds no schedule.
    """
    try:
        settings = DDIMScheduler.load_config(folder, local_files_only=True)
        given = cast(Any, settings)
        scheduler = DDIMScheduler.from_config(given, clip_sample=False, set_alpha_to_one=True)
        return cast(DDIMScheduler, scheduler)
    except FAULTS as error:
        raise ModelError(f"{folder}: holds no schedule ({first_line(error)}); download it again") from error


@torch.no_grad()
def embedded(folder: Path, words: str) -> Prompt:
    """Encode a prompt with both text encoders.

    The tokens are the penultimate layers of both, concatenated. The pooled text is the second encoder's.

    Raises:
        ModelError: If a tokenizer or a text encoder is missing or damaged.
    """
    hidden, pooled = [], torch.empty(0)
    for number, kind in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        tokenizer = _tokenizer(folder / f"tokenizer{number}")
        encoder = read_encoder(kind, folder / f"text_encoder{number}")
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


def _tokenizer(folder: Path) -> Any:
    # Without these files transformers would build a tokenizer that knows no word.
    whole = (folder / "tokenizer.json").is_file()
    if not whole and not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise ModelError(
            f"{folder}: holds neither tokenizer.json nor vocab.json and merges.txt; download it again"
        )
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except FAULTS as error:
        raise ModelError(
            f"{folder}: no tokenizer can be read from it ({first_line(error)}); download it again"
        ) from error
