"""Build, read and save ObjectClear's network: SDXL-inpainting with the whole image and an object prompt.

A folder holds ``unet/``, ``vae/``, ``scheduler/``, ``image_encoder/`` and ``object_token/`` in diffusers'
layout. It also holds ``prompt.safetensors``, the cached embedding of the constant prompt (papers.md, fact
16).
"""

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from data_specs.errors import ModelError
from models.diffusion.inpainting import InpaintingNetwork, Prompt, fingerprint_of
from models.diffusion.tiny_vae import PatchCodec

# The object token (fact 16).


class ObjectTokenMLP(ModelMixin, ConfigMixin):
    """B×E image embeddings → B×D tokens for the U-Net's cross-attention.

    The model is an MLP E → D → D, a residual MLP at D, and a final LayerNorm. Each MLP begins with a
    LayerNorm and has one GELU. The paper's sizes are E = 768 and D = 2048.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 768, token_dim: int = 2048) -> None:
        """Build the model, untrained.

        Args:
            embedding_dim: E, the size of the image encoder's projection.
            token_dim: D, the size of the text encoders' tokens.
        """
        super().__init__()
        self.project = _mlp(embedding_dim, token_dim)
        self.refine = _mlp(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """B×E → B×D."""
        token = self.project(embedding)
        return self.norm(token + self.refine(token))


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out), nn.GELU(), nn.Linear(out, out))


PROMPT = "remove the instance of object"
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_SPREAD = (0.26862954, 0.26130258, 0.27577711)
_ENCODER_SETTINGS = ("image_size", "patch_size", "num_attention_heads", "hidden_act", "layer_norm_eps")
"""Settings of the image encoder that the shapes of its weights do not show."""


@dataclass(frozen=True, slots=True)
class ObjectPrompt(Prompt):
    """``PROMPT`` in the form that SDXL's U-Net takes.

    The object token replaces the word at ``object_position``.
    """

    object_position: int = 5
    """The start token has index 0, so index 5 is "object"."""


@dataclass(slots=True)
class ObjectClearNetwork:
    """All parts of ObjectClear's remover. The U-Net and the object token are trained, the rest is frozen."""

    unet: UNet2DConditionModel
    vae: Any
    """AutoencoderKL or PatchCodec: ``encode(x).latent_dist``, ``decode(z).sample``, ``config``."""
    scheduler: DDIMScheduler
    prompt: ObjectPrompt
    image_encoder: CLIPVisionModelWithProjection
    object_token: ObjectTokenMLP

    def to(self, device: torch.device | str) -> Self:
        """Move all parts to a device. Returns the network."""
        for part in (self.unet, self.vae, self.image_encoder, self.object_token):
            part.to(cast(Any, device))
        self.prompt = self.prompt.to(device)
        return self

    def save(self, folder: Path) -> None:
        """Write ``folder`` in diffusers' layout, safetensors only."""
        for name in ("unet", "vae", "object_token"):
            part = getattr(self, name)
            part.register_to_config(_name_or_path="")  # do not store the source folder's path
            part.save_pretrained(folder / name, safe_serialization=True)
        self.image_encoder.save_pretrained(folder / "image_encoder")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"hidden": self.prompt.hidden, "pooled": self.prompt.pooled}, folder / "prompt.safetensors")

    def save_small(self, folder: Path) -> None:
        """Write like ``save``, but in half precision.

        For a network that is shipped and fine-tuned, not resumed.
        """
        names = ("unet", "object_token", "image_encoder")
        replace(self, **{name: copy.deepcopy(getattr(self, name)).half() for name in names}).save(folder)

    def fingerprint(self) -> str:
        """20 hexadecimal digits that name weights, prompt and settings. The folder has no influence."""
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
        """SDXL's conditioning for each image and its object.

        Args:
            source: B×3×H×W float, [-1, 1].
            mask: B×1×H×W float, 0 or 1.

        Returns:
            B×T×D tokens with the object token at its position, and a dict with the pooled text and SDXL's
            size ids. The ids are (original size, crop corner, target size), each as (height, width).
        """
        token = self.object_token(embed_object(self.image_encoder, source, mask))
        # A pipeline that moves its networks leaves the prompt behind.
        prompt = self.prompt.to(token.device)
        hidden = prompt.hidden.expand(len(source), -1, -1).clone()
        hidden[:, prompt.object_position] = token.to(hidden.dtype)
        height, width = source.shape[-2:]
        ids = prompt.pooled.new_tensor([[height, width, 0, 0, height, width]])
        count = len(source)
        return hidden, {
            "text_embeds": prompt.pooled.expand(count, -1),
            "time_ids": ids.expand(count, -1),
        }


@torch.no_grad()
def embed_object(encoder: CLIPVisionModelWithProjection, source: Tensor, mask: Tensor) -> Tensor:
    """Embed mask × source with the frozen encoder, resized and normalised like CLIP's images.

    Args:
        encoder: CLIP's image encoder, any size.
        source: B×3×H×W float, [-1, 1].
        mask: B×1×H×W float, 0 or 1.

    Returns:
        B×E.
    """
    return encoder(pixel_values=object_view(encoder, source, mask)).image_embeds


def object_view(encoder: CLIPVisionModelWithProjection, source: Tensor, mask: Tensor) -> Tensor:
    """B×3×S×S, the input of the encoder in ``embed_object``.

    Black outside the object before normalisation.
    """
    side = cast(int, encoder.config.image_size)
    cut = torch.nn.functional.interpolate(
        (source / 2 + 0.5) * mask, (side, side), mode="bicubic", antialias=True, align_corners=False
    )
    mean, spread = (cut.new_tensor(three)[:, None, None] for three in (_CLIP_MEAN, _CLIP_SPREAD))
    return ((cut.clamp(0, 1) - mean) / spread).to(encoder.dtype)


def load_object_clear(folder: Path) -> ObjectClearNetwork:
    """Read a folder that ``save`` wrote.

    Raises:
        ModelError: If a part is missing or damaged. The message names the folder.
    """
    transformers_logging.disable_progress_bar()  # no progress bar for a few MB
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
        raise ModelError(
            f"{folder}: cannot be used as an ObjectClear network ({error}); download or train it again"
        ) from error


# The two sizes: tiny on the shipped base, full as SDXL-inpainting was published.

_TINY_TOKENS = 7
"""Start, the prompt's five words and end, as CLIP's tokenizer cuts it, without the padding to 77."""


def build_tiny_image_encoder(seed: int) -> CLIPVisionModelWithProjection:
    """Build a small CLIP image encoder, untrained: 64 px, patches of 8 px, 0.2 M parameters, 32 outputs."""
    config = CLIPVisionConfig(
        image_size=64,
        patch_size=8,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIPVisionModelWithProjection(config)


def build_tiny_object_clear(
    base: InpaintingNetwork, image_encoder: CLIPVisionModelWithProjection, seed: int
) -> ObjectClearNetwork:
    """Build the tiny network. It starts as the base and attends at both levels.

    The base attends at 8×8 cells only, which is too coarse for a map of the object. The finer level gets its
    own attention. Its last layer is zero, so the U-Net still gives the base's output.

    Args:
        base: Its weights, codec, schedule and prompt are used. It is not changed.
        image_encoder: Already trained. It is frozen here.
        seed: Seed of the new weights.
    """
    settings = {
        **base.unet.config,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }
    width = base.unet.config["cross_attention_dim"]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(settings))
        token = ObjectTokenMLP(image_encoder.config.projection_dim, width)
    missing, _ = unet.load_state_dict(base.unet.state_dict(), strict=False)
    for name in missing:
        if ".proj_out." in name:
            nn.init.zeros_(unet.get_parameter(name))
    tokens = torch.arange(_TINY_TOKENS) % base.prompt.hidden.shape[1]
    return ObjectClearNetwork(
        unet=unet,
        vae=base.vae,
        scheduler=cast(DDIMScheduler, base.scheduler),
        prompt=ObjectPrompt(hidden=base.prompt.hidden[:, tokens].clone(), pooled=base.prompt.pooled),
        image_encoder=image_encoder.eval().requires_grad_(False),
        object_token=token,
    )


def build_full_object_clear(device: str = "meta") -> ObjectClearNetwork:
    """Build the paper's sizes, untrained: SDXL-inpainting-0.1 and CLIP ViT-L/14 by their published configs.

    Args:
        device: "meta" takes no memory, any other device about 12 GB.
    """
    with torch.device(device):
        return ObjectClearNetwork(
            unet=_sdxl_unet(),
            vae=_sdxl_vae(),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            prompt=ObjectPrompt(hidden=torch.zeros(1, 77, 2048), pooled=torch.zeros(1, 1280)),
            image_encoder=CLIPVisionModelWithProjection(
                CLIPVisionConfig(
                    image_size=224,
                    patch_size=14,
                    hidden_size=1024,
                    intermediate_size=4096,
                    num_hidden_layers=24,
                    num_attention_heads=16,
                    projection_dim=768,
                )
            ),
            object_token=ObjectTokenMLP(),
        )


def _sdxl_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        in_channels=9,
        out_channels=4,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=cast(Any, (1, 2, 10)),
        attention_head_dim=cast(Any, (5, 10, 20)),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def _sdxl_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=cast(Any, ("DownEncoderBlock2D",) * 4),
        up_block_types=cast(Any, ("UpDecoderBlock2D",) * 4),
        block_out_channels=cast(Any, (128, 256, 512, 512)),
        layers_per_block=2,
        latent_channels=4,
        sample_size=1024,
        scaling_factor=0.13025,
        force_upcast=True,
    )
