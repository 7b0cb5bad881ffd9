"""SDXL-inpainting's published layout in miniature: what diffusers' own pipeline makes of the same folder."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from data_specs.errors import ModelError
from models.diffusion.inpainting import load_network
from models.diffusion.sdxl import is_published_layout, read_sdxl_inpainting


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Letters, and the two signs that begin and end a text."""
    folder.mkdir()
    letters = [chr(c) for c in range(97, 123)]
    names = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of SDXL's classes, a few thousand parameters, saved by diffusers."""
    torch.manual_seed(0)
    words = tokenizer(tmp_path_factory.mktemp("words") / "tokenizer")
    texts = [
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            projection_dim=24,
            bos_token_id=52,
            eos_token_id=53,
            pad_token_id=53,
        )
        for width in (16, 24)
    ]
    pipeline = StableDiffusionXLInpaintPipeline(
        vae=cast(Any, AutoencoderKL)(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
        ),
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=words,
        tokenizer_2=words,
        unet=UNet2DConditionModel(
            sample_size=16,
            in_channels=9,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=40,
            attention_head_dim=2,
            norm_num_groups=4,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        ),
        scheduler=cast(Any, EulerDiscreteScheduler)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )
    folder = tmp_path_factory.mktemp("published") / "sdxl"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.mark.parametrize("words", ["", "remove the thing"])
def test_the_prompt_is_what_diffusers_pipeline_says(published: Path, words: str) -> None:
    network = read_sdxl_inpainting(published, words)
    pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(published, local_files_only=True)
    hidden, _, pooled, _ = pipeline.encode_prompt(words, do_classifier_free_guidance=False)
    torch.testing.assert_close(network.prompt.hidden, hidden)
    torch.testing.assert_close(network.prompt.pooled, pooled)
    assert (network.prompt.hidden.shape, network.prompt.pooled.shape) == ((1, 77, 40), (1, 24))


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


def test_a_missing_part_is_named(published: Path, tmp_path: Path) -> None:
    (tmp_path / "text_encoder_2").mkdir()
    with pytest.raises(ModelError, match=rf"^{tmp_path}: cannot be used as SDXL-inpainting"):
        read_sdxl_inpainting(tmp_path)
