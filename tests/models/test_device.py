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


def sam_without_prompt_encoder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decoder asks its labels where they are −1, which "meta" cannot say."""

    def decoded(sam: Any, embeddings: torch.Tensor, prompts: Any) -> tuple[torch.Tensor, None]:
        assert embeddings.device == sam.device == torch.device("meta")
        return embeddings[:, :1], None

    monkeypatch.setattr("models.perception.sam.decode", decoded)
    return SamSegmenter(SamConfig()).segment(PICTURE, [Box(4, 4, 30, 30)], [[(9, 9)]])


class Answers(torch.nn.Module):
    """A network that looks where its input is, and answers there."""

    device = torch.device("meta")

    def __init__(self, answer: Callable[[torch.device], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *images: torch.Tensor, **named: torch.Tensor) -> Any:
        places = {tensor.device for tensor in (*images, *named.values())}
        assert places == {self.device}
        return self.answer(self.device)


def dino_answers(_: pytest.MonkeyPatch) -> Any:
    detector = GroundingDinoDetector(GroundingDinoConfig())
    assert detector._model.device == Answers.device

    def answer(place: torch.device) -> SimpleNamespace:
        return SimpleNamespace(
            logits=torch.zeros(1, 5, 64, device=place), pred_boxes=torch.zeros(1, 5, 4, device=place)
        )

    detector._model = Answers(answer)  # pyright: ignore[reportAttributeAccessIssue]
    return detector.detect(PICTURE)


def yolo_answers(_: pytest.MonkeyPatch) -> Any:
    detector = YoloDetector(YoloConfig())
    assert next(detector._network.parameters()).device == Answers.device
    detector._network = Answers(lambda place: (torch.zeros(1, 8, 5, device=place),))  # pyright: ignore[reportAttributeAccessIssue]
    return detector.detect(PICTURE)


PERCEPTION: dict[str, Callable[[pytest.MonkeyPatch], Any]] = {
    "sam": sam_without_prompt_encoder,
    "mask2former": lambda _: Mask2FormerSegmenter(Mask2FormerConfig()).classify(PICTURE),
    "depth_anything": lambda _: DepthAnythingEstimator(DepthAnythingConfig()).estimate(PICTURE),
    "grounding_dino": dino_answers,
}
if yolo_is_installed():
    PERCEPTION["yolo"] = yolo_answers


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("name", PERCEPTION)
def test_perception(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotImplementedError, match=FETCHED):
        PERCEPTION[name](monkeypatch)


@pytest.mark.usefixtures("_elsewhere")
def test_removers() -> None:
    with pytest.raises(NotImplementedError, match=FETCHED):
        open_remover("rorem", 2).remover.remove([PICTURE], [MASK], [1])


@pytest.mark.usefixtures("_elsewhere")
def test_object_clear() -> None:
    """diffusers' schedule asks a timestep on the device for its number, after the U-Net's first pass."""
    remover = open_remover("object-clear", 2).remover
    with pytest.raises(RuntimeError, match=r"Tensor\.item\(\) cannot be called on meta tensors") as caught:
        remover.remove([PICTURE], [MASK], [1])
    assert "scheduling_ddim" in str(caught.traceback[-3].path) + str(caught.traceback[-2].path)


@pytest.mark.usefixtures("_elsewhere")
def test_metrics(weights: Path) -> None:
    metrics = [
        Lpips(weights / "lpips"),
        clip_similarity(weights / "clip"),
        dino_similarity(weights / "dino"),
        *remove_metrics(weights / "sam"),
    ]
    image = RemovedImage(source=PICTURE, mask=MASK, effect_region=MASK, ground_truth=PICTURE, removal=PICTURE)
    for metric in metrics:
        with pytest.raises(NotImplementedError, match=FETCHED):
            metric.measure([image])


@pytest.mark.usefixtures("_elsewhere")
def test_the_discriminator_scores_where_its_backbone_is(build_network) -> None:
    network = build_network().to(network_device())
    config = DiscriminatorConfig(head="pooled", head_width=32)
    scorer = LoraDiscriminator(DiscriminatorNetwork(network, config, seed=0), config)
    with pytest.raises(NotImplementedError, match=FETCHED):
        scorer.logits([PICTURE], [MASK], [PICTURE], ["item"])
