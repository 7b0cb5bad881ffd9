"""Use the four perception models of compositing as one object."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_specs.keys import derive_key
from data_specs.work import CODE_VERSION, ShardWork
from models.images.backbones import folder_fingerprint
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
    """Finds objects, cuts their masks, separates ground from what stands on it, and estimates distances."""

    detector: Detector
    segmenter: Segmenter
    ground_segmenter: GroundSegmenter
    depth_estimator: DepthEstimator

    @property
    def model_hash(self) -> str:
        """The hash of all four models."""
        models = (self.detector, self.segmenter, self.ground_segmenter, self.depth_estimator)
        return derive_key("perception", *(model.model_hash for model in models))


class PerceptionConfig(BaseModel):
    """The models to use. The defaults are the tiny models that ship with the package."""

    model_config = ConfigDict(frozen=True)

    detector: DetectorConfig = Field(
        default=default_detector(),
        description="The model that finds objects: YOLO with the extra `yolo`, otherwise Grounding DINO.",
    )
    segmenter: SegmenterConfig = Field(
        default=SegmenterConfig(), description="The model that makes an object's mask."
    )
    ground: GroundSegmenterConfig = Field(
        default=GroundSegmenterConfig(), description="The model that separates ground from objects."
    )
    depth: DepthEstimatorConfig = Field(
        default=DepthEstimatorConfig(), description="The model that estimates depth."
    )

    @property
    def fingerprint(self) -> str:
        """The hash of config and weights, independent of the weights' location. No model is loaded."""
        models = (self.detector, self.segmenter, self.ground, self.depth)
        settings = [model.model_dump_json(exclude={"weights"}) for model in models]
        return derive_key("perception", *settings, *(_fingerprint_of(model.weights) for model in models))


@cache
def _fingerprint_of(folder: Path) -> str:
    return folder_fingerprint(folder)


def load_perception(config: PerceptionConfig) -> Perception:
    """The models of a config. They are loaded once for each process.

    Raises:
        ModelError: If a package or weights are missing or do not fit.
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


# The work of a shard that may need perception. The models name it, not their location.


class SeeingWork(ShardWork):
    """The common input of cutting out pairs and finding plates."""

    files_digest: str = ""
    """The digest of the source's files. Other images under the same names are different work."""
    first: int = Field(default=0, ge=0)
    flatness: FlatGroundConfig
    perception: PerceptionConfig

    @property
    @abstractmethod
    def sees(self) -> bool:
        """Whether perception is used at all. A synthetic source that tells its exact truth needs none."""

    @property
    def digest(self) -> str:
        """The name of the work, from all its inputs. Other weights in the same folder are different work."""
        models = self.perception.fingerprint if self.sees else ""
        stated = self.model_dump_json(exclude={"perception"})
        return derive_key(type(self).__name__, CODE_VERSION, stated, models)
