"""Everything that runs a network runs it on the one device that models/device.py names.

There is no GPU here, so the device is "meta". Its tensors have shapes and no numbers. A tensor that was left
behind on the CPU, or a result that is read without being fetched, ends with another error than the one that
is expected: that "meta" has nothing to fetch.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data_specs.detection import Box
from data_specs.metric import RemovedImage
from models.device import network_device
from models.metrics.embedding import clip_similarity, dino_similarity
from models.metrics.lpips import Lpips
from models.metrics.remove import remove_metrics
from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.perception.mask2former import Mask2FormerConfig, Mask2FormerSegmenter
from models.perception.sam import SamConfig, SamSegmenter
from models.perception.yolo import YoloConfig, YoloDetector, yolo_is_installed
from models.rorem.discriminator import DiscriminatorConfig, DiscriminatorNetwork, LoraDiscriminator
from tasks.registry.removers import open_remover
from tests.models.metrics.conftest import weights

__all__ = ["weights"]

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
MASK = np.zeros((64, 64), bool)
MASK[20:40, 20:40] = True
FETCHED = "Cannot copy out of meta tensor"


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(device=torch.device("meta"))
    monkeypatch.setattr("models.device.launched_processes", lambda: elsewhere)


def test_here_it_is_the_launchers_device() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert network_device().type == kind


PERCEPTION: dict[str, Callable[[], Any]] = {
    "sam": lambda: SamSegmenter(SamConfig()).segment(PICTURE, [Box(4, 4, 30, 30)], [[(9, 9)]]),
    "mask2former": lambda: Mask2FormerSegmenter(Mask2FormerConfig()).classify(PICTURE),
    "depth_anything": lambda: DepthAnythingEstimator(DepthAnythingConfig()).estimate(PICTURE),
    "grounding_dino": lambda: GroundingDinoDetector(GroundingDinoConfig()).detect(PICTURE),
}
if yolo_is_installed():
    PERCEPTION["yolo"] = lambda: YoloDetector(YoloConfig()).detect(PICTURE)


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("name", PERCEPTION)
def test_perception(name: str) -> None:
    with pytest.raises(NotImplementedError, match=FETCHED):
        PERCEPTION[name]()


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("name", ["rorem", "object-clear"])
def test_removers(name: str) -> None:
    remover = open_remover(name, 2).remover
    with pytest.raises(NotImplementedError, match=FETCHED):
        remover.remove([PICTURE], [MASK], [1])


@pytest.mark.usefixtures("_elsewhere")
def test_metrics(weights: Path) -> None:
    metrics = [
        Lpips(weights / "lpips"),
        clip_similarity(weights / "clip"),
        dino_similarity(weights / "dino"),
        *remove_metrics(weights / "sam"),
    ]
    image = RemovedImage(PICTURE, MASK, MASK, PICTURE, PICTURE)
    for metric in metrics:
        with pytest.raises(NotImplementedError, match=FETCHED):
            metric.measure([image])


@pytest.mark.usefixtures("_elsewhere")
def test_the_discriminator_scores_where_its_backbone_is(build_network) -> None:
    network = build_network().to(network_device())
    config = DiscriminatorConfig(head="pooled", head_width=32)
    scorer = LoraDiscriminator(DiscriminatorNetwork(network, config, seed=0), config)
    with pytest.raises(NotImplementedError, match=FETCHED):
        scorer.logits([PICTURE], [MASK], [PICTURE])
