"""ObjectClear's network: SDXL-inpainting that sees the whole picture, and a prompt that shows the object.

A folder holds ``unet/``, ``vae/``, ``scheduler/``, ``image_encoder/`` and ``object_token/`` in diffusers'
layout and ``prompt.safetensors``, the cached embedding of the constant prompt (papers.md, fact 16).
"""

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from data_specs.errors import ModelError
from models.diffusion.inpainting import Prompt, fingerprint_of
from models.diffusion.tiny_vae import PatchCodec
from models.objectclear.object_token import ObjectTokenMLP

PROMPT = "remove the instance of object"
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_SPREAD = (0.26862954, 0.26130258, 0.27577711)
_ENCODER_SETTINGS = ("image_size", "patch_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
"""What the image encoder's weights do not tell by their shapes."""


@dataclass(frozen=True, slots=True)
class ObjectPrompt(Prompt):
    """``PROMPT`` as SDXL's U-Net takes it; the word at ``object_position`` gives way to the object."""

    object_position: int = 5
    """The start token is number 0, so this is "object"."""


@dataclass(slots=True)
class ObjectClearNetwork:
    """All that ObjectClear's remover is made of. U-Net and object token are trained, the rest is frozen."""

    unet: UNet2DConditionModel
    vae: Any
    """AutoencoderKL or PatchCodec: ``encode(x).latent_dist``, ``decode(z).sample``, ``config``."""
    scheduler: DDIMScheduler
    prompt: ObjectPrompt
    image_encoder: CLIPVisionModelWithProjection
    object_token: ObjectTokenMLP

    def to(self, device: torch.device | str) -> Self:
        """All of it, moved to a device."""
        for part in (self.unet, self.vae, self.image_encoder, self.object_token):
            part.to(cast(Any, device))
        self.prompt = self.prompt.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write ``folder`` in diffusers' layout, safetensors only."""
        for name in ("unet", "vae", "object_token"):
            part = getattr(self, name)
            part.register_to_config(_name_or_path="")  # the folder it came from is nobody's business
            part.save_pretrained(folder / name, safe_serialization=True)
        self.image_encoder.save_pretrained(folder / "image_encoder")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"hidden": self.prompt.hidden, "pooled": self.prompt.pooled}, folder / "prompt.safetensors")

    def save_small(self, folder: Path) -> None:
        """``save`` in half precision, for a network that is shipped and fine-tuned, not resumed."""
        names = ("unet", "object_token", "image_encoder")
        replace(self, **{name: copy.deepcopy(getattr(self, name)).half() for name in names}).save(folder)

    def fingerprint(self) -> str:
        """20 hexadecimal digits naming the weights, the prompt and the settings, wherever they lie."""
        tensors = {"prompt.hidden": self.prompt.hidden, "prompt.pooled": self.prompt.pooled}
        for part in ("unet", "vae", "object_token", "image_encoder"):
            weights = getattr(self, part).state_dict()
            tensors |= {f"{part}.{name}": tensor for name, tensor in weights.items()}
        encoder = {name: getattr(self.image_encoder.config, name) for name in _ENCODER_SETTINGS}
        configs = [
            self.unet.config,
            self.vae.config,
            self.scheduler.config,
            self.object_token.config,
            encoder,
        ]
        return fingerprint_of(tensors, configs)

    def condition(self, source: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """SDXL's conditioning for each picture and its object.

        Args:
            source: B×3×H×W float, [-1, 1].
            mask: B×1×H×W float, 0 or 1.

        Returns:
            B×T×D tokens, the object's in its place; and the pooled text with SDXL's size ids, (original size,
            crop corner, target size), each (height, width).
        """
        token = self.object_token(embed_object(self.image_encoder, source, mask))
        hidden = self.prompt.hidden.expand(len(source), -1, -1).clone()
        hidden[:, self.prompt.object_position] = token.to(hidden.dtype)
        height, width = source.shape[-2:]
        ids = self.prompt.pooled.new_tensor([[height, width, 0, 0, height, width]])
        count = len(source)
        return hidden, {
            "text_embeds": self.prompt.pooled.expand(count, -1),
            "time_ids": ids.expand(count, -1),
        }


@torch.no_grad()
def embed_object(encoder: CLIPVisionModelWithProjection, source: Tensor, mask: Tensor) -> Tensor:
    """The frozen encoder's view of mask × source, resized and normalised as CLIP's pictures are.

    Args:
        encoder: CLIP's image side, any size.
        source: B×3×H×W float, [-1, 1].
        mask: B×1×H×W float, 0 or 1.

    Returns:
        B×E.
    """
    return encoder(pixel_values=object_view(encoder, source, mask)).image_embeds


def object_view(encoder: CLIPVisionModelWithProjection, source: Tensor, mask: Tensor) -> Tensor:
    """B×3×S×S, as ``embed_object`` shows it to the encoder; black off the object before normalising."""
    side = cast(int, encoder.config.image_size)
    cut = torch.nn.functional.interpolate(
        (source / 2 + 0.5) * mask, (side, side), mode="bicubic", antialias=True, align_corners=False
    )
    mean, spread = (cut.new_tensor(three)[:, None, None] for three in (_CLIP_MEAN, _CLIP_SPREAD))
    return ((cut.clamp(0, 1) - mean) / spread).to(encoder.dtype)


def load_object_clear(folder: Path) -> ObjectClearNetwork:
    """Read a folder that ``save`` wrote.

    Raises:
        ModelError: If a part is missing or damaged; the sentence names the folder.
    """
    transformers_logging.disable_progress_bar()  # a bar for a few MB, on a terminal that is not its own
    try:
        prompt = load_file(folder / "prompt.safetensors")
        kind = json.loads((folder / "vae" / "config.json").read_text())["_class_name"]
        coder = AutoencoderKL if kind == "AutoencoderKL" else PatchCodec
        unet, vae, object_token = (
            part.from_pretrained(folder / name, use_safetensors=True, torch_dtype=torch.float32)
            for name, part in (
                ("unet", UNet2DConditionModel),
                ("vae", coder),
                ("object_token", ObjectTokenMLP),
            )
        )
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder", use_safetensors=True, dtype=torch.float32, local_files_only=True
        )
        return ObjectClearNetwork(
            unet=cast(UNet2DConditionModel, unet),
            vae=vae,
            scheduler=cast(DDIMScheduler, DDIMScheduler.from_pretrained(folder / "scheduler")),
            prompt=ObjectPrompt(hidden=prompt["hidden"].float(), pooled=prompt["pooled"].float()),
            image_encoder=encoder.eval().requires_grad_(False),
            object_token=cast(ObjectTokenMLP, object_token),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: not a usable ObjectClear network ({error})") from error
