"""Removals of known kinds, and folders with small backbones of the real classes, randomly initialised."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchmetrics.functional.image import lpips as torchmetrics_lpips
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    SamConfig,
    SamModel,
    SamVisionConfig,
)

from data_specs.metric import RemovedImage
from models.metrics.lpips import FILE_NAME, AlexLpips


def removed_image(seed: int, noise: float, size_px: int = 64) -> RemovedImage:
    """A soft scene, an object with a shadow beside it, and a removal that is the truth and noise."""
    chance = np.random.default_rng(seed)
    soft = cv2.resize(chance.integers(40, 220, (5, 5, 3), dtype=np.uint8), (size_px, size_px))
    truth = np.asarray(soft, np.uint8)
    mask = np.zeros((size_px, size_px), bool)
    top, left = chance.integers(8, size_px // 2, 2)
    mask[top : top + size_px // 4, left : left + size_px // 5] = True
    effect = mask.copy()
    effect[top + size_px // 5 : top + size_px // 4, left : left + size_px // 3] = True
    source = truth.copy()
    source[effect] //= 2
    source[mask] = (200, 30, 60)
    noisy = truth + chance.normal(0, noise, truth.shape) if noise else truth
    return RemovedImage(
        source=source,
        mask=mask,
        effect_region=effect,
        ground_truth=truth,
        removal=np.clip(noisy, 0, 255).astype(np.uint8),
    )


@pytest.fixture(scope="session")
def images() -> list[RemovedImage]:
    """Four: equal to the truth, and ever noisier."""
    return [removed_image(seed, noise) for seed, noise in enumerate((0, 4, 12, 40))]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``--metric-weights`` names: every family, small."""
    root = tmp_path_factory.mktemp("metric weights")
    torch.manual_seed(0)
    _save_lpips(root / "lpips")
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32,
        patch_size=8, projection_dim=24,
    )  # fmt: skip
    text = CLIPTextConfig(vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                          num_attention_heads=2, projection_dim=24)  # fmt: skip
    clip = CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24)
    )
    clip.save_pretrained(root / "clip")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        root / "clip"
    )
    dino = Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    )
    dino.save_pretrained(root / "dino")
    CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}).save_pretrained(
        root / "dino"
    )
    sam = SamVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=128, patch_size=8, mlp_dim=64,
        output_channels=16, window_size=4, global_attn_indexes=[1], initializer_range=0.2,
    )  # fmt: skip
    SamModel(SamConfig(vision_config=sam)).save_pretrained(root / "sam")
    return root


def _save_lpips(folder: Path) -> None:
    """Random features, and the published heads, which torchmetrics carries."""
    published = Path(torchmetrics_lpips.__file__).parent / "lpips_models" / "alex.pth"
    heads = torch.load(published, map_location="cpu", weights_only=True)
    network = AlexLpips()
    features = {name: one for name, one in network.state_dict().items() if name.startswith("features.")}
    folder.mkdir()
    save_file({**features, **heads}, folder / FILE_NAME)
