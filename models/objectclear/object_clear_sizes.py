"""ObjectClear's network in its two sizes: tiny on the shipped base, full as SDXL-inpainting was published."""

from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from models.diffusion.inpainting import InpaintingNetwork
from models.objectclear.network import ObjectClearNetwork, ObjectPrompt
from models.objectclear.object_token import ObjectTokenMLP

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
