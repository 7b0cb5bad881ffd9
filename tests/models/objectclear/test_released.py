"""ObjectClear's folder as released: what its parts say when they are put together by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from data_specs.errors import ModelError
from models.objectclear.network import object_view
from models.objectclear.released import read_released_object_clear
from tasks.registry.removers import open_remover
from tests.published.checkpoints import PROJECTION, TOKEN_WIDTH, ReleasedToken, clip, object_clear


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return object_clear(tmp_path_factory.mktemp("released") / "object_clear", size_px=64)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(2, 1, 64, 96)
    mask[..., 20:44, 30:60] = 1
    return source, mask


def test_the_conditioning_is_that_of_the_released_parts(released: Path) -> None:
    """The prompt by diffusers, the object by transformers' CLIP and an MLP by the released names."""
    network = read_released_object_clear(released)
    source, mask = scene()
    words = StableDiffusionXLInpaintPipeline.from_pretrained(
        released, local_files_only=True, image_encoder=None, feature_extractor=None
    )
    expected, _, pooled, _ = words.encode_prompt(
        "remove the instance of object", do_classifier_free_guidance=False
    )
    tokens = words.tokenizer("remove the instance of object").input_ids
    assert words.tokenizer.convert_ids_to_tokens(tokens)[5] == "object</w>"
    whole = CLIPModel.from_pretrained(released / "image_prompt_encoder")
    seen = whole.vision_model(object_view(network.image_encoder, source, mask)).pooler_output
    token = ReleasedToken(PROJECTION, TOKEN_WIDTH)
    token.load_state_dict(load_file(released / "postfuse_module" / "model.safetensors"))
    expected = expected.repeat(2, 1, 1)
    with torch.no_grad():
        expected[:, 5] = token(whole.visual_projection(seen))
    hidden, added = network.condition(source, mask)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(added["text_embeds"], pooled.repeat(2, 1))
    assert added["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]] * 2


def test_remove_takes_the_folder(released: Path) -> None:
    opened = open_remover(str(released), 2)
    assert opened.title == f"ObjectClear in {released}"
    source = np.full((70, 90, 3), 120, np.uint8)
    mask = np.zeros((70, 90), bool)
    mask[20:40, 20:40] = True
    removal = opened.remover.remove([source], [mask], [0])[0]
    assert removal.shape == source.shape
    assert (removal != source)[mask].any()


def test_fp16_files_of_the_object_token_are_read(released: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(released, tmp_path / "half")
    part = folder / "postfuse_module"
    tensors = {name: tensor.half() for name, tensor in load_file(part / "model.safetensors").items()}
    (part / "model.safetensors").unlink()
    save_file(tensors, part / "model.fp16.safetensors")
    token = read_released_object_clear(folder).object_token
    assert torch.equal(token.norm.weight, tensors["layer_norm.weight"].float())


def test_parts_that_do_not_fit_are_named(released: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(released, tmp_path / "odd")
    save_file(ReleasedToken(16, TOKEN_WIDTH).state_dict(), folder / "postfuse_module" / "model.safetensors")
    with pytest.raises(
        ModelError, match="object token turns 16 numbers into 40, where 24 into 40 are needed"
    ):
        read_released_object_clear(folder)
    save_file({"weight": torch.zeros(2)}, folder / "postfuse_module" / "model.safetensors")
    with pytest.raises(ModelError, match="is not the MLP of ObjectClear's object token"):
        read_released_object_clear(folder)
    shutil.rmtree(folder / "image_prompt_encoder")
    with pytest.raises(ModelError, match="has no image_prompt_encoder; download the whole folder"):
        read_released_object_clear(folder)
    assert clip(folder / "image_prompt_encoder").is_dir()
