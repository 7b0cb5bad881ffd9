"""Implement these Protocols to add a remover, discriminator, metric or perception model."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from data_specs.arrays import Alpha, Depth, Mask, RgbImage
from data_specs.detection import Box, ClassMap, Detection
from data_specs.metric import MetricSpec, RemovedImage


class RemovalModel(Protocol):
    """Removes what a mask marks, with its effects if it can."""

    @property
    def model_hash(self) -> str:
        """Names weights and settings. Equal hashes give equal removals."""
        ...

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """Remove one object from each image.

        Args:
            sources: N images H×W×3 uint8, of any sizes.
            masks: N masks H×W bool, True = remove.
            seeds: N seeds. The same seed gives the same removal in a batch of the same size.

        Returns:
            N removals H×W×3 uint8.
        """
        ...


@runtime_checkable
class AttentiveRemover(Protocol):
    """A RemovalModel that can also return its attention map."""

    def remove_attending(self, source: RgbImage, mask: Mask, seed: int) -> tuple[RgbImage, Alpha]:
        """Remove one object, as ``RemovalModel.remove`` does, and return the object token's attention.

        Args:
            source: H×W×3 uint8.
            mask: H×W bool.
            seed: Seed of the noise.

        Returns:
            The removal, H×W×3 uint8, and the attention scaled to its own range, H×W float32, [0, 1].
        """
        ...


class Discriminator(Protocol):
    """Scores how likely a reviewer is to say YES."""

    @property
    def model_hash(self) -> str:
        """Names weights, settings and calibration."""
        ...

    def score(
        self,
        sources: Sequence[RgbImage],
        masks: Sequence[Mask],
        removals: Sequence[RgbImage],
        proposals: Sequence[str],
    ) -> list[float]:
        """The probability of success of each removal. Those of one proposal are compared with each other.

        Args:
            sources: N images H×W×3 uint8, of any sizes.
            masks: N tight masks H×W bool.
            removals: N results H×W×3 uint8.
            proposals: N names of item and model (``Candidate.proposal``), in any order.

        Returns:
            N calibrated probabilities, 0..1.
        """
        ...


class Metric(Protocol):
    """Measures one number of each removal."""

    @property
    def spec(self) -> MetricSpec:
        """Name, unit and direction of the metric."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names settings and weights. Equal fingerprints give equal numbers."""
        ...

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """Measure N images of one size.

        Returns:
            N numbers in ``spec.unit``. NaN where the metric is undefined for an image.
        """
        ...


class Detector(Protocol):
    """Finds objects (papers.md fact 11: YOLO or Grounding DINO)."""

    @property
    def model_hash(self) -> str:
        """Names weights and settings."""
        ...

    def detect(self, source: RgbImage) -> list[Detection]:
        """Find objects in H×W×3 uint8. The highest score comes first, and boxes lie inside the image."""
        ...


class Segmenter(Protocol):
    """Cuts an object's mask (papers.md fact 11: SAM)."""

    @property
    def model_hash(self) -> str:
        """Names weights and settings."""
        ...

    def segment(
        self, source: RgbImage, boxes: Sequence[Box], points: Sequence[Sequence[tuple[float, float]]] = ()
    ) -> list[Mask]:
        """Cut the object in each box.

        Args:
            source: H×W×3 uint8.
            boxes: N boxes, in pixels.
            points: For each box, (x, y) in pixels that lie on its object, or none. Empty: boxes alone.

        Returns:
            N masks H×W bool.
        """
        ...


class GroundSegmenter(Protocol):
    """Classifies the surface of each pixel (papers.md fact 14: Mask2Former)."""

    @property
    def model_hash(self) -> str:
        """Names weights and settings."""
        ...

    def classify(self, source: RgbImage) -> ClassMap:
        """Class of each pixel of H×W×3 uint8, as H×W uint8 of SurfaceClass values."""
        ...


class DepthEstimator(Protocol):
    """Estimates the depth of each pixel (papers.md fact 14: Depth Anything)."""

    @property
    def model_hash(self) -> str:
        """Names weights and settings."""
        ...

    def estimate(self, source: RgbImage) -> Depth:
        """Depth of each pixel of H×W×3 uint8, in one unit for all images, as H×W float32, inf = sky."""
        ...
