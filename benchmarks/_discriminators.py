"""Build the discriminators of `benchmarks/discriminator_scoring.py`, and slow ways of scoring to compare.

There are three sizes. The slow ways share no encodings between candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from data_specs.arrays import Mask, RgbImage
from models.diffusion.inpainting import InpaintingNetwork, Prompt, load_network
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.objectclear.network import build_full_object_clear
from models.rorem.discriminator import (
    ATTENTION,
    CONVOLUTIONS,
    DiscriminatorConfig,
    DiscriminatorNetwork,
    LoraDiscriminator,
)

BASE = Path(__file__).parents[1] / "models" / "weights" / "base"
_WORDS = 77


@dataclass(slots=True)
class Case:
    """A discriminator with the text encoders of its prompt, and the side of the images in px."""

    discriminator: LoraDiscriminator
    network: InpaintingNetwork
    encoders: tuple[nn.Module, ...]
    """Empty at tiny size, where the prompt comes from no text encoder."""
    size_px: int

    def ways(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], removals: Sequence[RgbImage]
    ) -> dict[str, Callable[[], list[float]]]:
        """Logits of the candidates: as the product computes them, and twice with everything encoded again."""

        def anew(at_once: int) -> list[float]:
            found: list[float] = []
            for start in range(0, len(sources), at_once):
                part = slice(start, start + at_once)
                found += self._anew(sources[part], masks[part], removals[part]).tolist()
            return found

        return {
            "shared": lambda: self.discriminator.logits(sources, masks, removals, ["" for _ in sources]),
            "anew, one by one": lambda: anew(1),
            "anew, in batches": lambda: anew(self.discriminator.batch_size),
        }

    @torch.no_grad()
    def _anew(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], removals: Sequence[RgbImage]
    ) -> Tensor:
        """Encode text, source, mask and removal separately for each candidate."""
        module = self.discriminator.network
        device = next(module.parameters()).device
        if self.encoders:
            self.network.prompt = encoded_prompt(self.encoders, len(sources), device)
        given = (images_to_tensor(sources), masks_to_tensor(masks), images_to_tensor(removals))
        return module(*(each.to(device) for each in given))


@torch.no_grad()
def encoded_prompt(encoders: tuple[nn.Module, ...], count: int, device: torch.device) -> Prompt:
    """The empty prompt, encoded ``count`` times by both text encoders, as SDXL takes it."""
    tokens = torch.full((count, _WORDS), 999, device=device)
    said = [cast(Any, encoder)(tokens, output_hidden_states=True) for encoder in encoders]
    hidden = torch.cat([each.hidden_states[-2] for each in said], -1)
    # One row: `condition` repeats it for every candidate. All rows are equal, and all were computed.
    return Prompt(hidden=hidden[:1], pooled=said[-1].text_embeds[:1])


def tiny(device: str) -> Case:
    """The cycle's discriminator on the shipped base: 64 px, LoRA of rank 16 on attention and convolutions."""
    config = DiscriminatorConfig(
        lora_rank=16, lora_alpha=16, lora_targets=ATTENTION + CONVOLUTIONS, head="pooled", head_width=64
    )
    return _case(load_network(BASE).to(device), config, (), 64, 64, device)


def medium(device: str) -> Case:
    """SDXL's shapes at a quarter of the width, the paper's discriminator with a pooled head: 256 px."""
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=32,
            in_channels=9,
            out_channels=4,
            block_out_channels=(96, 192, 320),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=cast(Any, (1, 2, 10)),
            attention_head_dim=cast(Any, (2, 3, 5)),
            cross_attention_dim=512,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=64,
            projection_class_embeddings_input_dim=320 + 6 * 64,
        )
        vae = AutoencoderKL(
            down_block_types=cast(Any, ("DownEncoderBlock2D",) * 4),
            up_block_types=cast(Any, ("UpDecoderBlock2D",) * 4),
            block_out_channels=cast(Any, (32, 64, 128, 128)),
            layers_per_block=2,
            latent_channels=4,
            sample_size=256,
            scaling_factor=0.13025,
        )
        encoders = _text_encoders((192, 12, 3), (320, 32, 5))
    network = _network(unet, vae, encoders, device)
    return _case(network, DiscriminatorConfig(head="pooled"), encoders, 256, 16, device)


def full(device: str) -> Case:
    """SDXL-inpainting's own sizes and the paper's discriminator: 512 px.

    The weights are random. They take about 30 GB in float32.
    """
    built = build_full_object_clear(device)
    with torch.device(device):
        encoders = _text_encoders((768, 12, 12), (1280, 32, 20))
    network = _network(built.unet, built.vae, encoders, device)
    return _case(network, DiscriminatorConfig(), encoders, 512, 16, device)


CASES: dict[str, Callable[[str], Case]] = {"tiny": tiny, "medium": medium, "full": full}


def _text_encoders(first: tuple[int, int, int], second: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """SDXL's two CLIP encoders, from (width, layers, heads) of each."""
    configs = [
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            projection_dim=width,
            max_position_embeddings=_WORDS,
        )
        for width, layers, heads in (first, second)
    ]
    return CLIPTextModel(configs[0]).eval(), CLIPTextModelWithProjection(configs[1]).eval()


def _network(
    unet: UNet2DConditionModel, vae: Any, encoders: tuple[nn.Module, nn.Module], device: str
) -> InpaintingNetwork:
    scheduler = load_network(BASE).scheduler
    prompt = encoded_prompt(encoders, 1, torch.device(device))
    return InpaintingNetwork(unet=unet.eval(), vae=vae.eval(), scheduler=scheduler, prompt=prompt)


def _case(
    network: InpaintingNetwork,
    config: DiscriminatorConfig,
    encoders: tuple[nn.Module, ...],
    size_px: int,
    batch_size: int,
    device: str,
) -> Case:
    module = DiscriminatorNetwork(network, config, seed=0).to(device)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:  # zero before training, as if there were no LoRA
                parameter.normal_(0, 0.02)
    return Case(LoraDiscriminator(module, config, batch_size=batch_size), network, encoders, size_px)
