"""SDXL-inpainting's published layout in miniature: what diffusers' own pipeline makes of the same folder."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from safetensors.torch import load_file, save_file

from data_specs.errors import ModelError
from models.diffusion.inpainting import load_network
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting
from models.rorem.remover import InpaintingRemover, SamplingConfig
from tests.published.checkpoints import PROJECTION, TOKEN_WIDTH, sdxl_inpainting, small_unet


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl_inpainting(tmp_path_factory.mktemp("published") / "sdxl")


@pytest.mark.parametrize("words", ["", "remove the thing"])
def test_the_prompt_is_what_diffusers_pipeline_says(published: Path, words: str) -> None:
    network = read_sdxl_inpainting(published, words)
    pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(published, local_files_only=True)
    hidden, _, pooled, _ = pipeline.encode_prompt(words, do_classifier_free_guidance=False)
    torch.testing.assert_close(network.prompt.hidden, hidden)
    torch.testing.assert_close(network.prompt.pooled, pooled)
    assert (network.prompt.hidden.shape, network.prompt.pooled.shape) == (
        (1, 77, TOKEN_WIDTH),
        (1, PROJECTION),
    )


def test_the_schedule_keeps_its_betas_and_clips_nothing(published: Path) -> None:
    scheduler = read_sdxl_inpainting(published).scheduler
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(scheduler.betas, betas)
    assert (scheduler.config["clip_sample"], scheduler.config["prediction_type"]) == (False, "epsilon")


def test_saved_it_is_a_network_like_any_other(published: Path, tmp_path: Path) -> None:
    network = read_sdxl_inpainting(published)
    assert is_published_layout(published)
    network.save(tmp_path / "network")
    assert not is_published_layout(tmp_path / "network")
    assert load_network(tmp_path / "network").fingerprint() == network.fingerprint()


def removal_by_diffusers(
    folder: Path, source: torch.Tensor, mask: torch.Tensor, steps: int, strength: float
) -> tuple[torch.Tensor, list[list[float]]]:
    """The published pipeline with its own schedule (Euler): the image, [0, 1], and the U-Net's size ids."""
    pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    encode = pipeline.vae.encode

    def without_chance(x: torch.Tensor) -> Any:
        return SimpleNamespace(latents=encode(x).latent_dist.mode())

    pipeline.vae.encode = without_chance  # ours takes the mode, a documented deviation
    seen: list[list[float]] = []
    pipeline.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["added_cond_kwargs"]["time_ids"][0].tolist()),
        with_kwargs=True,
    )
    given = pipeline(
        prompt="",
        image=source / 2 + 0.5,
        mask_image=mask,
        height=source.shape[-2],
        width=source.shape[-1],
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=[torch.Generator().manual_seed(3)],
        output_type="pt",
    )
    return cast(Any, given).images, seen


@pytest.mark.parametrize(("steps", "strength"), [(8, 1.0), (8, 0.99)])
def test_a_removal_is_that_of_the_published_schedule(published: Path, steps: int, strength: float) -> None:
    """An oblong image: its size ids are (height, width). The last step leaves no noise."""
    generator = torch.Generator().manual_seed(1)
    source = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 16:48, 24:60] = 1
    expected, ids = removal_by_diffusers(published, source, mask, steps, strength)
    network = read_sdxl_inpainting(published)
    assert set(map(tuple, ids)) == {(64, 96, 0, 0, 64, 96)}
    assert network.condition(1, 64, 96)[1]["time_ids"].tolist() == ids[:1]
    remover = InpaintingRemover(network, SamplingConfig(steps=steps, strength=strength))
    ours = (remover.sample(source, mask, [3]) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(ours * 255, expected * 255, atol=0.01, rtol=0)
    assert expected.std() > 0.01, "a flat image would compare nothing"


def test_fp16_files_are_read_where_plain_ones_are_missing(published: Path, tmp_path: Path) -> None:
    half = sdxl_inpainting(tmp_path / "half", variant="fp16")
    assert not [path for path in half.rglob("*.safetensors") if ".fp16." not in path.name]
    network, whole = read_sdxl_inpainting(half), read_sdxl_inpainting(published)
    assert network.unet.dtype == network.vae.dtype == network.prompt.hidden.dtype == torch.float32
    for name, weight in network.unet.state_dict().items():
        assert torch.equal(weight, whole.unet.state_dict()[name].half().float()), name


def test_fp16_files_in_shards_are_read(published: Path, tmp_path: Path) -> None:
    unet = read_sdxl_inpainting(published).unet.half()
    folder = shutil.copytree(published, tmp_path / "sharded")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", variant="fp16", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 2
    read = read_sdxl_inpainting(folder).unet.state_dict()
    assert all(torch.equal(read[name], weight.float()) for name, weight in unet.state_dict().items())


def drop(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def settings(part: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def four_channels(folder: Path) -> None:
    """SDXL's base, which is no inpainting network."""
    small_unet(in_channels=4).save_pretrained(folder / "unet")


def lacks_a_weight(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path, {"format": "pt"})


UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (four_channels, "its U-Net has 4 input channels, and inpainting needs 9"),
        (settings("unet", _class_name="UNet2DModel"), "holds a UNet2DModel with a AutoencoderKL"),
        (settings("unet", addition_embed_type=None), "its U-Net takes no sizes, so it is not SDXL's"),
        (lambda folder: (folder / "transformer").mkdir(), "its network is a transformer, not SDXL's U-Net"),
        (drop("text_encoder_2"), "has no text_encoder_2; download the whole folder"),
        (
            drop("text_encoder/model.safetensors"),
            "holds neither model.safetensors nor model.fp16.safetensors",
        ),
        (drop(UNET), "holds neither diffusion_pytorch_model.safetensors nor diffusion_pytorch_model.fp16"),
        (drop("tokenizer/vocab.json", "tokenizer/merges.txt"), "holds neither tokenizer.json nor vocab.json"),
        (drop("scheduler/scheduler_config.json"), "holds no schedule"),
        (drop("unet/config.json"), "config.json: cannot be read"),
        (lacks_a_weight, "1 weights of the UNet2DConditionModel are missing, such as conv_in.bias"),
        (lambda folder: (folder / UNET).write_bytes(b"cut"), "no UNet2DConditionModel can be read from it"),
        (settings("vae", latent_channels=16), "inpainting needs 33"),
    ],
)
def test_a_wrong_checkpoint_is_named_in_a_sentence(
    published: Path, tmp_path: Path, change: Callable[[Path], None], fault: str
) -> None:
    folder = shutil.copytree(published, tmp_path / "wrong")
    change(folder)
    assert is_published_layout(folder)
    with pytest.raises(ModelError, match=re.escape(fault)) as caught:
        read_sdxl_inpainting(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
