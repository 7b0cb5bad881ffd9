"""The four models that compositing sees with, as one thing."""

from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel, ConfigDict

from data_specs.keys import derive_key
from models.protocols import DepthEstimator, Detector, GroundSegmenter, Segmenter


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
    """Which models see."""

    model_config = ConfigDict(frozen=True)


def load_perception(config: PerceptionConfig) -> Perception:
    """The models a config names; loaded once a process."""
    return _loaded(config.model_dump_json())


@cache
def _loaded(stated: str) -> Perception:
    raise NotImplementedError(stated)
