"""Which detector and which segmenter: a config says, and one builder each makes it."""

from typing import Annotated

from pydantic import Field

from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.perception.mask2former import Mask2FormerConfig, Mask2FormerSegmenter
from models.perception.sam import SamConfig, SamSegmenter
from models.perception.yolo import NO_YOLO, YoloConfig, YoloDetector, yolo_is_installed
from models.protocols import DepthEstimator, Detector, GroundSegmenter, Segmenter

DetectorConfig = Annotated[YoloConfig | GroundingDinoConfig, Field(discriminator="kind")]
"""Every detector's config, told apart by ``kind``."""
SegmenterConfig = SamConfig


def default_detector() -> DetectorConfig:
    """YOLO where the extra `yolo` is installed, else Grounding DINO; a config then names the one it took."""
    return YoloConfig() if yolo_is_installed() else GroundingDinoConfig()


def detector_words(config: DetectorConfig) -> str:
    """Which detector finds objects, and how to get YOLO where it is not installed."""
    if isinstance(config, YoloConfig):
        return "objects are found by YOLO"
    return "objects are found by Grounding DINO" + ("" if yolo_is_installed() else f": {NO_YOLO}")


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


# From a config to what tells an image's surfaces and depth.

GroundSegmenterConfig = Mask2FormerConfig
"""A union, told apart by ``kind``, once there is a second."""
DepthEstimatorConfig = DepthAnythingConfig


def build_ground_segmenter(config: GroundSegmenterConfig) -> GroundSegmenter:
    """The segmenter of a config; its default is the shipped tiny one.

    Raises:
        ModelError: If its weights cannot be used.
    """
    return Mask2FormerSegmenter(config)


def build_depth_estimator(config: DepthEstimatorConfig) -> DepthEstimator:
    """The estimator of a config; its default is the shipped tiny one.

    Raises:
        ModelError: If its weights cannot be used.
    """
    return DepthAnythingEstimator(config)
