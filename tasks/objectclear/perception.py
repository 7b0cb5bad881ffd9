"""The four models that compositing sees with, as one thing."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.work import CODE_VERSION, ShardWork
from models.metrics.backbones import folder_fingerprint
from models.perception.registry import (
    DepthEstimatorConfig,
    DetectorConfig,
    GroundSegmenterConfig,
    SegmenterConfig,
    build_depth_estimator,
    build_detector,
    build_ground_segmenter,
    build_segmenter,
    default_detector,
)
from models.protocols import DepthEstimator, Detector, GroundSegmenter, Segmenter
from tasks.objectclear.ground import FlatGroundConfig


@dataclass(frozen=True, slots=True, eq=False)
class Perception:
    """Finds objects, cuts their masks, tells ground from what stands on it, and how far it is."""

    detector: Detector
    segmenter: Segmenter
    ground_segmenter: GroundSegmenter
    depth_estimator: DepthEstimator

    @property
    def model_hash(self) -> str:
        """Names all four."""
        models = (self.detector, self.segmenter, self.ground_segmenter, self.depth_estimator)
        return derive_key("perception", *(model.model_hash for model in models))


class PerceptionConfig(BaseModel):
    """Which models see; the defaults are the tiny ones that ship."""

    model_config = ConfigDict(frozen=True)

    detector: DetectorConfig = Field(
        default=default_detector(),
        description="Finds objects; YOLO where the extra `yolo` is installed, else Grounding DINO.",
    )
    segmenter: SegmenterConfig = Field(default=SegmenterConfig(), description="Cuts an object's mask.")
    ground: GroundSegmenterConfig = Field(
        default=GroundSegmenterConfig(), description="Tells ground from what stands on it."
    )
    depth: DepthEstimatorConfig = Field(default=DepthEstimatorConfig(), description="Tells how far it is.")

    @property
    def fingerprint(self) -> str:
        """Names settings and weights, wherever the weights lie; no model is loaded."""
        models = (self.detector, self.segmenter, self.ground, self.depth)
        settings = [each.model_dump_json(exclude={"weights"}) for each in models]
        return derive_key("perception", *settings, *(_fingerprint_of(each.weights) for each in models))


@cache
def _fingerprint_of(folder: Path) -> str:
    return folder_fingerprint(folder)


def load_perception(config: PerceptionConfig) -> Perception:
    """The models a config names; loaded once a process.

    Raises:
        ModelError: If a package or weights are absent or do not fit.
    """
    return _loaded(config.model_dump_json())


@cache
def _loaded(stated: str) -> Perception:
    config = PerceptionConfig.model_validate_json(stated)
    return Perception(
        detector=build_detector(config.detector),
        segmenter=build_segmenter(config.segmenter),
        ground_segmenter=build_ground_segmenter(config.ground),
        depth_estimator=build_depth_estimator(config.depth),
    )


# A shard's work that perception may be needed for: named by what the models are, not by where they lie.


class SeeingWork(ShardWork):
    """What cutting out pairs and finding plates have in common."""

    files_digest: str = ""
    """Of the source's files: other images under the same names are other work."""
    first: int = Field(default=0, ge=0)
    flatness: FlatGroundConfig
    perception: PerceptionConfig

    @property
    @abstractmethod
    def sees(self) -> bool:
        """Whether perception is asked at all: a studio that tells what it knows needs none."""

    @property
    def digest(self) -> str:
        """Names the work by all its inputs; other weights in the same folder are other work."""
        models = self.perception.fingerprint if self.sees else ""
        stated = self.model_dump_json(exclude={"perception"})
        return derive_key(type(self).__name__, CODE_VERSION, stated, models)
