"""Build a detector, segmenter, ground segmenter or depth estimator from its config."""

from typing import Annotated

from pydantic import Field

from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.perception.mask2former import Mask2FormerConfig, Mask2FormerSegmenter
from models.perception.sam import SamConfig, SamSegmenter
from models.perception.yolo import NO_YOLO, YoloConfig, YoloDetector, yolo_is_installed
from models.protocols import DepthEstimator, Detector, GroundSegmenter, Segmenter

DetectorConfig = Annotated[YoloConfig | GroundingDinoConfig, Field(discriminator="kind")]
"""The config of any detector. ``kind`` tells them apart."""
SegmenterConfig = SamConfig


def default_detector() -> DetectorConfig:
    """YOLO if the extra `yolo` is installed, else Grounding DINO. The config then names its choice."""
    return YoloConfig() if yolo_is_installed() else GroundingDinoConfig()


def detector_words(config: DetectorConfig) -> str:
    """A sentence on which detector is used, and how to get YOLO if it is not installed."""
    if isinstance(config, YoloConfig):
        return "YOLO finds the objects"
    return "Grounding DINO finds the objects" + ("" if yolo_is_installed() else f": {NO_YOLO}")


def build_detector(config: DetectorConfig) -> Detector:
    """Build the detector of a config.

    Raises:
        ModelError: If its package or its weights are missing or do not fit.
    """
    if isinstance(config, GroundingDinoConfig):
        return GroundingDinoDetector(config)
    return YoloDetector(config)


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """Build the segmenter of a config. Raises as ``build_detector`` does."""
    return SamSegmenter(config)


# Ground segmenter and depth estimator.

GroundSegmenterConfig = Mask2FormerConfig
"""Becomes a union, told apart by ``kind``, when there is a second segmenter."""
DepthEstimatorConfig = DepthAnythingConfig


def build_ground_segmenter(config: GroundSegmenterConfig) -> GroundSegmenter:
    """Build the ground segmenter of a config. The default is the shipped tiny one.

    Raises:
        ModelError: If its weights cannot be used.
    """
    return Mask2FormerSegmenter(config)


def build_depth_estimator(config: DepthEstimatorConfig) -> DepthEstimator:
    """Build the depth estimator of a config. The default is the shipped tiny one.

    Raises:
        ModelError: If its weights cannot be used.
    """
    return DepthAnythingEstimator(config)
