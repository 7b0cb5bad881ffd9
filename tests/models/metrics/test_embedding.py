"""CLIP and DINO similarity against the whole models, prepared and compared by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, Dinov2Model, ViTConfig, ViTModel

from data_specs.errors import ModelError
from data_specs.metric import RemovedImage
from models.metrics.embedding import clip_similarity, dino_similarity

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def prepared(image: np.ndarray, resize_px: int, crop_px: int) -> torch.Tensor:
    """Pillow's bicubic resize, the middle, and CLIP's mean and deviation."""
    small = np.asarray(Image.fromarray(image).resize((resize_px, resize_px), Image.Resampling.BICUBIC))
    edge = (resize_px - crop_px) // 2
    middle = small[edge : edge + crop_px, edge : edge + crop_px] / 255
    scaled = (middle - np.array(CLIP_MEAN)) / np.array(CLIP_DEVIATION)
    return torch.from_numpy(scaled.transpose(2, 0, 1)[None]).float()


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


@torch.no_grad()
def test_clip_is_the_cosine_of_image_embeddings(images: list[RemovedImage], weights: Path) -> None:
    whole = CLIPModel.from_pretrained(weights / "clip").eval()

    def embedding(image: np.ndarray) -> np.ndarray:
        pooled = whole.vision_model(prepared(image, 32, 32)).pooler_output
        return whole.visual_projection(pooled)[0].double().numpy()

    expected = [cosine(embedding(p.removal), embedding(p.ground_truth)) for p in images]
    assert clip_similarity(weights / "clip").measure(images) == pytest.approx(expected, abs=1e-5)
    assert expected[0] == pytest.approx(1)
    assert expected[3] < 0.9999


@torch.no_grad()
def test_dino_is_the_cosine_of_class_tokens(images: list[RemovedImage], weights: Path) -> None:
    whole = Dinov2Model.from_pretrained(weights / "dino").eval()

    def token(image: np.ndarray) -> np.ndarray:
        return whole(prepared(image, 64, 56)).pooler_output[0].double().numpy()

    expected = [cosine(token(p.removal), token(p.ground_truth)) for p in images]
    assert dino_similarity(weights / "dino").measure(images) == pytest.approx(expected, abs=1e-5)
    assert expected[3] < 0.9999


def test_the_first_dino_comes_without_a_pooler(
    images: list[RemovedImage], weights: Path, tmp_path: Path
) -> None:
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=56,
        patch_size=14,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    shutil.copy(weights / "dino/preprocessor_config.json", tmp_path)
    first, again = (dino_similarity(tmp_path).measure(images) for _ in range(2))
    assert first == again
    assert first[0] == pytest.approx(1)


def test_a_weight_that_is_missing_is_never_drawn_at_random(weights: Path, tmp_path: Path) -> None:
    shutil.copytree(weights / "clip", tmp_path / "clip")
    kept = load_file(tmp_path / "clip/model.safetensors")
    del kept["visual_projection.weight"]
    save_file(kept, tmp_path / "clip/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights .* visual_projection.weight"):
        clip_similarity(tmp_path / "clip")


def test_another_kind_of_model_and_a_pickle_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds a clip; put a DINO there"):
        dino_similarity(weights / "clip")
    shutil.copytree(weights / "dino", tmp_path / "dino")
    (tmp_path / "dino/model.safetensors").unlink()
    torch.save({}, tmp_path / "dino/pytorch_model.bin")
    with pytest.raises(ModelError, match="no Dinov2Model can be read"):
        dino_similarity(tmp_path / "dino")
    (tmp_path / "dino/config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(ModelError, match="no config.json"):
        dino_similarity(tmp_path / "dino")
