"""ObjectClear's network: its folder, its conditioning, and the published sizes on no memory at all."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPVisionModelWithProjection

from data_specs.errors import ModelError
from models.objectclear.network import (
    ObjectClearNetwork,
    ObjectTokenMLP,
    build_full_object_clear,
    embed_object,
    load_object_clear,
)

ROOT = Path(__file__).resolve().parents[3]
Shapes = dict[str, tuple[int, ...]]


def answer(network: ObjectClearNetwork) -> torch.Tensor:
    """One U-Net pass, the object shown."""
    generator = torch.Generator().manual_seed(4)
    source = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 20:40, 10:30] = 1
    hidden, added = network.condition(source, mask)
    channels = network.unet.config["in_channels"]
    latents = torch.randn(2, channels, 16, 16, generator=generator)
    with torch.no_grad():
        return network.unet(latents, 300, hidden, added_cond_kwargs=added).sample


def test_what_is_saved_comes_back_in_a_fresh_process(build_object_clear, tmp_path: Path) -> None:
    network = build_object_clear(8, seed=3)
    network.save(tmp_path / "network")
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".safetensors", ".json"}
    script = (
        "import sys, torch; from pathlib import Path; sys.path.insert(0, 'tests/models/objectclear'); "
        "from models.objectclear.network import load_object_clear; from test_network import answer; "
        "n = load_object_clear(Path(sys.argv[1])); print(n.fingerprint(), answer(n).double().sum().item())"
    )
    environment = {"PYTHONHASHSEED": "17", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "network"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    expected = f"{network.fingerprint()} {answer(network).double().sum().item()}"
    assert result.stdout.strip().splitlines()[-1] == expected


def test_the_fingerprint_names_every_part(build_object_clear) -> None:
    def named(change: Any = id) -> str:
        network = build_object_clear()
        with torch.no_grad():
            change(network)
        return network.fingerprint()

    prints = [
        named(),
        named(lambda n: n.unet.get_parameter("conv_out.bias")[0].add_(1e-6)),
        named(lambda n: n.vae.mean[0].add_(1e-6)),
        named(lambda n: n.object_token.norm.bias[0].add_(1e-6)),
        named(lambda n: n.image_encoder.visual_projection.weight[0, 0].add_(1e-3)),
        named(lambda n: n.prompt.pooled[0, 0].add_(1e-6)),
        named(lambda n: setattr(n.image_encoder.config, "layer_norm_eps", 1e-3)),
    ]
    assert len(set(prints)) == len(prints)
    assert named() == prints[0]


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize(
    "part",
    [
        "prompt.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "image_encoder/model.safetensors",
        "image_encoder/config.json",
        "object_token/diffusion_pytorch_model.safetensors",
        "vae/config.json",
    ],
)
def test_a_damaged_folder_is_named(build_object_clear, tmp_path: Path, part: str, damage: str) -> None:
    folder = tmp_path / "network"
    build_object_clear().save(folder)
    path = folder / part
    path.write_bytes(path.read_bytes()[:-100]) if damage == "cut" else path.unlink()
    with pytest.raises(ModelError, match=f"^{folder}: cannot be used as an ObjectClear network"):
        load_object_clear(folder)


def test_a_real_vae_is_read_back_as_one(build_object_clear, tmp_path: Path) -> None:
    network = build_object_clear()
    network.vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    network.save(tmp_path)
    assert isinstance(load_object_clear(tmp_path).vae, AutoencoderKL)


def test_word_five_gives_way_to_the_object(build_object_clear) -> None:
    network = build_object_clear()
    source, mask = torch.rand(2, 3, 48, 64) * 2 - 1, torch.zeros(2, 1, 48, 64)
    mask[..., 10:30, 10:30] = 1
    hidden, added = network.condition(source, mask)
    token = network.object_token(embed_object(network.image_encoder, source, mask))
    words = network.prompt.hidden
    assert torch.equal(hidden[:, 5], token)
    assert torch.equal(hidden[:, :5], words[:, :5].expand(2, -1, -1))
    assert torch.equal(hidden[:, 6:], words[:, 6:].expand(2, -1, -1))
    assert added["time_ids"].tolist() == [[48, 64, 0, 0, 48, 64]] * 2
    assert hidden.requires_grad, "the object token is trained"


def test_only_the_object_is_shown(build_object_clear) -> None:
    encoder = build_object_clear().image_encoder
    source, mask = torch.rand(1, 3, 64, 64) * 2 - 1, torch.zeros(1, 1, 64, 64)
    mask[..., 10:30, 10:30] = 1
    elsewhere = torch.where(mask > 0, source, -source)
    assert torch.equal(embed_object(encoder, source, mask), embed_object(encoder, elsewhere, mask))
    assert not torch.equal(embed_object(encoder, source, mask), embed_object(encoder, -source, mask))


def test_the_tiny_network_begins_as_the_base(build_network, build_object_clear) -> None:
    """With the base's own words it answers as the base does: the new attention adds nothing yet."""
    base, network = build_network(4, seed=0), build_object_clear(4, seed=0)
    hidden, added = base.condition(2, 64, 64)
    latents = torch.randn(2, 9, 16, 16)
    ours, theirs = (n.unet(latents, 200, hidden, added_cond_kwargs=added).sample for n in (network, base))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_object_token_is_the_papers_mlp() -> None:
    """Fact 16, written out with functions: 768 → 2048 → 2048, a residual MLP at 2048, LayerNorm."""
    mlp = ObjectTokenMLP()
    weights = mlp.state_dict()
    assert sum(w.numel() for w in weights.values()) == (
        2 * 768 + 769 * 2048 + 2049 * 2048 + 2 * 2048 + 2 * 2049 * 2048 + 2 * 2048
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in mlp.named_parameters():
        if parameter.dim() == 1:
            parameter.data = torch.rand(parameter.shape, generator=generator)
            weights[name] = parameter.data
    x = torch.randn(3, 768, generator=generator)

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    first = layer(gelu(layer(norm(x, "project.0"), "project.1")), "project.3")
    second = first + layer(gelu(layer(norm(first, "refine.0"), "refine.1")), "refine.3")
    torch.testing.assert_close(mlp(x), norm(second, "norm"), atol=1e-4, rtol=1e-4)


def both(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def resnet(at: str, width: int, out: int) -> Shapes:
    shapes = both(f"{at}.norm1", width) | both(f"{at}.conv1", out, width, 3, 3)
    shapes |= both(f"{at}.time_emb_proj", out, 1280) | both(f"{at}.norm2", out)
    shapes |= both(f"{at}.conv2", out, out, 3, 3)
    return shapes | (both(f"{at}.conv_shortcut", out, width, 1, 1) if width != out else {})


def transformer(at: str, width: int, depth: int) -> Shapes:
    shapes = (
        both(f"{at}.norm", width) | both(f"{at}.proj_in", width, width) | both(f"{at}.proj_out", width, width)
    )
    for block in (f"{at}.transformer_blocks.{number}" for number in range(depth)):
        for number in (1, 2, 3):
            shapes |= both(f"{block}.norm{number}", width)
        for name, words in (("attn1", width), ("attn2", 2048)):
            shapes |= {f"{block}.{name}.to_q.weight": (width, width)}
            shapes |= {f"{block}.{name}.to_{part}.weight": (width, words) for part in "kv"}
            shapes |= both(f"{block}.{name}.to_out.0", width, width)
        shapes |= both(f"{block}.ff.net.0.proj", 8 * width, width) | both(
            f"{block}.ff.net.2", width, 4 * width
        )
    return shapes


def sdxl_inpainting_unet() -> Shapes:
    """The published checkpoint's keys and shapes, from its config: widths 320, 640, 1280; depths 0, 2, 10."""
    shapes = both("conv_in", 320, 9, 3, 3) | both("conv_norm_out", 320) | both("conv_out", 4, 320, 3, 3)
    for name, width in (("time_embedding", 320), ("add_embedding", 2816)):
        shapes |= both(f"{name}.linear_1", 1280, width) | both(f"{name}.linear_2", 1280, 1280)
    widths, depths = (320, 640, 1280), (0, 2, 10)
    skips, before = [320], 320
    for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for number in range(2):
            shapes |= resnet(f"down_blocks.{level}.resnets.{number}", before, width)
            if depth:
                shapes |= transformer(f"down_blocks.{level}.attentions.{number}", width, depth)
            before = width
            skips.append(width)
        if level < 2:
            shapes |= both(f"down_blocks.{level}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    shapes |= resnet("mid_block.resnets.0", 1280, 1280) | resnet("mid_block.resnets.1", 1280, 1280)
    shapes |= transformer("mid_block.attentions.0", 1280, 10)
    for level, (width, depth) in enumerate(zip(widths[::-1], depths[::-1], strict=True)):
        for number in range(3):
            shapes |= resnet(f"up_blocks.{level}.resnets.{number}", before + skips.pop(), width)
            if depth:
                shapes |= transformer(f"up_blocks.{level}.attentions.{number}", width, depth)
            before = width
        if level < 2:
            shapes |= both(f"up_blocks.{level}.upsamplers.0.conv", width, width, 3, 3)
    return shapes


@pytest.fixture(scope="module")
def full() -> ObjectClearNetwork:
    return build_full_object_clear()


def test_every_key_of_the_published_unet_is_there(full: ObjectClearNetwork) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in full.unet.state_dict().items()}
    expected = sdxl_inpainting_unet()
    assert found == expected
    assert len(expected) == 1680
    assert sum(torch.Size(shape).numel() for shape in expected.values()) == 2_567_478_084


def test_the_other_parts_have_their_published_sizes(full: ObjectClearNetwork) -> None:
    """SDXL's VAE has 83,653,863 parameters; CLIP ViT-L/14's image side, with its projection, 303,966,208."""
    assert isinstance(full.image_encoder, CLIPVisionModelWithProjection)
    assert sum(p.numel() for p in full.vae.parameters()) == 83_653_863
    assert sum(p.numel() for p in full.image_encoder.parameters()) == 303_966_208
    assert all(p.is_meta for p in full.unet.parameters())


def test_the_full_network_runs_without_memory(full: ObjectClearNetwork) -> None:
    with torch.device("meta"):
        hidden, added = full.condition(torch.zeros(1, 3, 512, 512), torch.zeros(1, 1, 512, 512))
        predicted = full.unet(torch.zeros(1, 9, 64, 64), 0, hidden, added_cond_kwargs=added).sample
    assert hidden.shape == (1, 77, 2048)
    assert predicted.shape == (1, 4, 64, 64)
