"""ObjectClear's network: SDXL-inpainting that sees the whole image, and a prompt that shows the object.

A folder holds ``unet/``, ``vae/``, ``scheduler/``, ``image_encoder/`` and ``object_token/`` in diffusers'
layout and ``prompt.safetensors``, the cached embedding of the constant prompt (papers.md, fact 16).
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

# The object token: the MLP that makes a word of the prompt from an object's image embedding (fact 16).


class ObjectTokenMLP(ModelMixin, ConfigMixin):
    """B×E image embeddings → B×D tokens, as the U-Net's cross-attention reads them.

    An MLP E → D → D, a residual MLP at D, and a last LayerNorm; each MLP begins with a LayerNorm and has
    one GELU. The paper's sizes: E = 768, D = 2048.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 768, token_dim: int = 2048) -> None:
        """Build it untrained.

        Args:
            embedding_dim: E, of the image encoder's projection.
            token_dim: D, of the text encoders' tokens.
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
        """SDXL's conditioning for each image and its object.

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
    """The frozen encoder's view of mask × source, resized and normalised as CLIP's images are.

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


# ObjectClear's network in its two sizes: tiny on the shipped base, full as SDXL-inpainting was published.

_TINY_TOKENS = 7
"""Start, the prompt's five words, end: as CLIP's tokenizer cuts it, without the padding to 77."""


def build_tiny_image_encoder(seed: int) -> CLIPVisionModelWithProjection:
    """CLIP's image side in small, untrained: 64 px, patches of 8 px, 0.2 M parameters, 32 numbers out."""
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
    """The tiny network, which begins as the base and attends at both levels.

    The base attends at 8×8 cells only, too coarse for a map of the object: the finer level gets attention
    of its own, whose last layer is zero, so that the U-Net still answers as the base does.

    Args:
        base: Its weights, codec, schedule and prompt; left as it is.
        image_encoder: Trained before; frozen here.
        seed: Of the new weights.
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
    """The paper's sizes, untrained: SDXL-inpainting-0.1 and CLIP ViT-L/14 by their published configs.

    Args:
        device: "meta" takes no memory; any other takes about 12 GB.
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
