"""Which detector and which segmenter: a config says, and one builder each makes it."""

from typing import Annotated

from pydantic import Field

from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.perception.sam import SamConfig, SamSegmenter
from models.perception.yolo import YoloConfig, YoloDetector
from models.protocols import Detector, Segmenter

DetectorConfig = Annotated[YoloConfig | GroundingDinoConfig, Field(discriminator="kind")]
"""Every detector's config, told apart by ``kind``."""
SegmenterConfig = SamConfig


def build_detector(config: DetectorConfig) -> Detector:
    """The detector that a config describes.

    Raises:
        ModelError: If its package or its weights are absent or do not fit.
    """
    if isinstance(config, GroundingDinoConfig):
        return GroundingDinoDetector(config)
    return YoloDetector(config)


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """The segmenter that a config describes; raises as ``build_detector`` does."""
    return SamSegmenter(config)
