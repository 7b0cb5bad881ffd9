"""From a config to what tells a picture's surfaces and depth."""

from models.perception.depth_anything import DepthAnythingConfig, DepthAnythingEstimator
from models.perception.mask2former import Mask2FormerConfig, Mask2FormerSegmenter
from models.protocols import DepthEstimator, GroundSegmenter

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
