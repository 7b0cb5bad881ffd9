"""Open words measured: a detector that reads, one that finds and does not read, one that never answers."""

from pathlib import Path

import numpy as np
import pytest

from data_specs.arrays import RgbImage
from data_specs.detection import Box, Detection
from models.perception.grounding_dino import GroundingDinoConfig
from tasks.training.perception import grounding_dino
from tasks.training.perception.grounding_dino import open_score
from tasks.training.perception.samples import SeenImage, SeenObject


def image(number: int, names: list[tuple[str, str]]) -> SeenImage:
    """Objects side by side; the image's first pixel says which it is."""
    source = np.zeros((20, 100, 3), np.uint8)
    source[0, 0] = number
    mask = np.ones((20, 100), bool)
    objects = [
        SeenObject(shape, color, mask, Box(20.0 * place, 0, 20.0 * place + 10, 10))
        for place, (color, shape) in enumerate(names)
    ]
    return SeenImage(source, tuple(objects))


IMAGES = [
    image(0, [("red", "box"), ("blue", "cone"), ("red", "box")]),  # 2 of 3; 1 of 3
    image(1, [("red", "cone"), ("green", "sphere")]),  # withheld: 1 of 2; 1 of 2
    image(2, [("red", "box")]),  # alone: no question of reading
    image(3, [("green", "sphere"), ("green", "sphere")]),  # all alike: neither
]


class Stub:
    """Finds every box; reads, or takes all for what was asked, or answers nothing."""

    kind = "reads"

    def __init__(self, config: GroundingDinoConfig) -> None:
        self.words = config.words
        self.model_hash = ""

    def detect(self, source: RgbImage) -> list[Detection]:
        things = IMAGES[int(source[0, 0, 0])].objects
        if self.kind == "reads":
            things = tuple(each for each in things if f"{each.color} {each.class_name}" in self.words)
        return [Detection(each.box, self.words[0], 0.9) for each in things if self.kind != "dumb"]


@pytest.mark.parametrize(
    ("kind", "right", "precision", "recall", "absent"),
    # Blind: asked for cone or sphere it names the first box; of 3 + 3 + 2 answers 2 + 1 + 1 are right.
    [("reads", 1, 1, 1, 0), ("blind", 1 / 3, 4 / 8, 1, 1), ("dumb", 0, 0, 0, 0)],
)
def test_reading_shows(
    monkeypatch: pytest.MonkeyPatch, kind: str, right: float, precision: float, recall: float, absent: float
) -> None:
    monkeypatch.setattr(grounding_dino, "GroundingDinoDetector", type("Stub", (Stub,), {"kind": kind}))
    figures = open_score(Path("weights"), IMAGES)
    assert figures["phrase asked"] == 3
    assert figures["withheld asked"] == 1
    assert figures["phrase surest right unread"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert figures["withheld surest right unread"] == 0.5
    assert figures["phrase surest right"] == pytest.approx(right)
    assert figures["phrase precision"] == pytest.approx(precision)
    assert figures["phrase recall"] == recall
    assert figures["absent asked"] == 4
    assert figures["absent answered"] == absent
