"""Perception that knows the studio's answers: what the real models are held against."""

from collections.abc import Sequence

import cv2
import numpy as np

from data_specs.arrays import Depth, Mask, RgbImage
from data_specs.captured_pair import CapturedPair, ImagePair
from data_specs.detection import Box, ClassMap, Detection, SurfaceClass
from tasks.objectclear.perception import Perception


class ExactPerception:
    """Answers for one captured pair, whatever image it is shown; moved as the source is cut."""

    model_hash = "exact"

    def __init__(self, truth: CapturedPair, offset: tuple[int, int] = (0, 0)) -> None:
        """``offset``: row and column of the truth that the shown images begin at."""
        self._truth, self._offset = truth, offset

    def detect(self, source: RgbImage) -> list[Detection]:
        left, top, width, height = cv2.boundingRect(
            self._shown(self._truth.matte >= 128, source).astype(np.uint8)
        )
        return [Detection(Box(left, top, left + width, top + height), self._truth.class_name, 0.9)]

    def segment(
        self, source: RgbImage, boxes: Sequence[Box], points: Sequence[Sequence[tuple[float, float]]] = ()
    ) -> list[Mask]:
        return [self._shown(self._truth.matte >= 128, source) for _ in boxes]

    def classify(self, source: RgbImage) -> ClassMap:
        ground = self._shown(self._truth.ground | (self._truth.matte > 0), source)
        return np.where(ground, SurfaceClass.GROUND, SurfaceClass.WALL).astype(np.uint8)

    def estimate(self, source: RgbImage) -> Depth:
        return self._shown(self._truth.depth, source)

    def _shown(self, field: np.ndarray, source: RgbImage) -> np.ndarray:
        (top, left), (height, width) = self._offset, source.shape[:2]
        return field[top : top + height, left : left + width]


def exact(truth: CapturedPair, offset: tuple[int, int] = (0, 0)) -> Perception:
    """All four abilities, exact for this pair."""
    knows = ExactPerception(truth, offset)
    return Perception(knows, knows, knows, knows)


def as_images(truth: CapturedPair) -> ImagePair:
    """The pair without anything that is known of it."""
    return ImagePair(
        key=truth.key,
        scene=truth.scene,
        split=truth.split,
        origin=truth.origin,
        source=truth.source,
        ground_truth=truth.ground_truth,
        focal_px=truth.focal_px,
    )
