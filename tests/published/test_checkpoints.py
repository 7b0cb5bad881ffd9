"""The small checkpoints are read by the classes that read the real ones, and are as quick as they say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.metrics.embedding import clip_similarity
from models.perception.convert import convert
from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.perception.mask2former import Mask2FormerConfig, Mask2FormerSegmenter
from models.perception.sam import SamConfig, SamSegmenter
from models.perception.yolo import YoloConfig, YoloDetector, yolo_is_installed
from tests.published import checkpoints

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def test_perceptions_folders_are_read_and_look_at_a_picture(tmp_path: Path) -> None:
    classes = Mask2FormerSegmenter(
        Mask2FormerConfig(weights=checkpoints.mask2former(tmp_path / "mask2former"))
    ).classify(PICTURE)
    depth = DepthAnythingEstimator(
        DepthAnythingConfig(weights=checkpoints.depth_anything(tmp_path / "depth"))
    ).estimate(PICTURE)
    assert classes.shape == depth.shape == (48, 64)
    dino = GroundingDinoConfig(weights=checkpoints.grounding_dino(tmp_path / "dino"), words=("car", "person"))
    assert isinstance(GroundingDinoDetector(dino).detect(PICTURE), list)
    assert len(clip_similarity(checkpoints.clip(tmp_path / "clip")).fingerprint) == 20


@pytest.mark.parametrize(
    ("kind", "build", "opened"),
    [
        ("sam", checkpoints.sam, lambda folder: SamSegmenter(SamConfig(weights=folder))),
        pytest.param(
            "yolo",
            checkpoints.yolo,
            lambda folder: YoloDetector(YoloConfig(weights=folder)),
            marks=pytest.mark.skipif(not yolo_is_installed(), reason="the extra `yolo` is not installed"),
        ),
    ],
)
def test_pickles_are_converted_and_read(tmp_path: Path, kind, build: Callable, opened: Callable) -> None:
    (file,) = build(tmp_path / "published").iterdir()
    convert(kind, file, tmp_path / "ours")
    assert len(opened(tmp_path / "ours").model_hash) == 20
