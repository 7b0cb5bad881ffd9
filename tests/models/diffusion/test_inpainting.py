"""The inpainting network: its folder, its conditioning, and the paper's full size on no memory at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from data_specs.errors import ModelError
from models.diffusion.inpainting import InpaintingNetwork, Prompt, load_network
from models.diffusion.tiny_vae import PatchCodec
from models.rorem.discriminator import DiscriminatorConfig, DiscriminatorNetwork
from models.rorem.remover import InpaintingRemover, SamplingConfig

SDXL_INPAINTING = {
    "sample_size": 128,
    "in_channels": 9,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""As its unet/config.json says."""


def test_what_is_saved_comes_back(build_network, images, boxes, tmp_path: Path) -> None:
    network = build_network(8)
    network.save(tmp_path / "network")
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".safetensors", ".json"}
    loaded = load_network(tmp_path / "network")
    before, after = (
        InpaintingRemover(each, SamplingConfig(steps=2)).remove(images(2, 1), boxes(2), [3, 4])
        for each in (network, loaded)
    )
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "part",
    [
        "prompt.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "scheduler/scheduler_config.json",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_folder_is_named(build_network, tmp_path: Path, part: str, damage: str) -> None:
    folder = tmp_path / "network"
    build_network().save(folder)
    path = folder / part
    path.write_bytes(path.read_bytes()[:-100]) if damage == "cut" else path.unlink()
    with pytest.raises(ModelError, match=f"^{folder}: cannot be used as an inpainting network"):
        load_network(folder)


def test_a_pickle_is_refused(build_network, tmp_path: Path) -> None:
    folder, network = tmp_path / "network", build_network()
    network.save(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(network.unet.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_network(folder)


def test_the_conditioning_is_sdxls(build_network) -> None:
    """Original size, crop corner, target size, as diffusers' own pipeline orders them."""
    network = build_network()
    hidden, added = network.condition(3, 48, 64)
    assert hidden.shape == (3, 2, 32)
    assert torch.equal(hidden[2], network.prompt.hidden[0])
    assert torch.equal(added["text_embeds"], network.prompt.pooled.repeat(3, 1))
    assert added["time_ids"].tolist() == [[48, 64, 0, 0, 48, 64]] * 3


@pytest.fixture(scope="module")
def full_unet() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL_INPAINTING)


def test_the_full_network_is_sdxls(full_unet: UNet2DConditionModel) -> None:
    parameters = sum(p.numel() for p in full_unet.parameters())
    # SDXL's own U-Net has 2,567,463,684; five more input channels add 5 · 320 · 3 · 3 weights.
    assert parameters == 2_567_463_684 + 5 * 320 * 9
    assert full_unet.conv_in.in_channels == 9


def test_the_papers_discriminator_stands_on_the_full_network(full_unet: UNet2DConditionModel) -> None:
    """Papers.md, fact 5: 1280×16×16 at 512 px, LoRA of rank 4 on attention, one logit."""
    prompt = Prompt(hidden=torch.zeros(1, 77, 2048), pooled=torch.zeros(1, 1280))
    network = InpaintingNetwork(full_unet, PatchCodec(4), scheduler=None, prompt=prompt)  # pyright: ignore[reportArgumentType]
    with torch.device("meta"):
        discriminator = DiscriminatorNetwork(network, DiscriminatorConfig(), seed=0)
        added = {"text_embeds": torch.zeros(1, 1280), "time_ids": torch.zeros(1, 6)}
        inputs, hidden = torch.zeros(1, 9, 64, 64), torch.zeros(1, 77, 2048)
        features = discriminator.backbone(inputs, 0, hidden, added_cond_kwargs=added).sample
        logit = discriminator.head(features, torch.zeros(1, 1, 512, 512))
    assert features.shape == (1, 1280, 16, 16)
    assert logit.shape == (1, 1)
    assert len(full_unet.up_blocks) == 3, "the network itself is left as it was"
    lora = [p for name, p in discriminator.backbone.named_parameters() if p.requires_grad]
    # Rank 4 on to_q, to_k, to_v, to_out.0 of two attentions a block: A is 4×in, B is out×4.
    expected = 0
    for width, blocks in ((640, 2 * 2), (1280, 2 * 10 + 10)):
        square, cross = 4 * (width + width), 4 * (2048 + width)
        expected += blocks * (4 * square + 2 * square + 2 * cross)
    assert sum(p.numel() for p in lora) == expected
