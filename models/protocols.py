"""What the flows ask of a model, and nothing more: any back end that answers fits."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from data_specs.arrays import Alpha, Depth, Mask, RgbImage
from data_specs.detection import Box, ClassMap, Detection
from data_specs.metric import MetricSpec, RemovedImage


class RemovalModel(Protocol):
    """Removes what a mask marks, with its effects if it can."""

    @property
    def model_hash(self) -> str:
        """Names the weights and settings; equal hashes give equal removals."""
        ...

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """Remove one object from each image.

        Args:
            sources: N images H×W×3 uint8, of any sizes.
            masks: N masks H×W bool, True = remove.
            seeds: N seeds; the same seed gives the same removal in a batch of the same size.

        Returns:
            N removals H×W×3 uint8.
        """
        ...


@runtime_checkable
class AttentiveRemover(Protocol):
    """A RemovalModel that can say where it looked."""

    def remove_attending(self, source: RgbImage, mask: Mask, seed: int) -> tuple[RgbImage, Alpha]:
        """Remove one object, as ``RemovalModel.remove`` does, and show the object token's attention.

        Args:
            source: H×W×3 uint8.
            mask: H×W bool.
            seed: Of the noise.

        Returns:
            The removal, H×W×3 uint8, and the attention scaled to its own range, H×W float32, [0, 1].
        """
        ...


class Discriminator(Protocol):
    """Scores how likely a reviewer is to say YES."""

    @property
    def model_hash(self) -> str:
        """Names the weights, settings and calibration."""
        ...

    def score(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], removals: Sequence[RgbImage]
    ) -> list[float]:
        """Probability of success of each removal.

        Args:
            sources: N images H×W×3 uint8, of any sizes.
            masks: N tight masks H×W bool.
            removals: N results H×W×3 uint8.

        Returns:
            N calibrated probabilities, 0..1.
        """
        ...


class Metric(Protocol):
    """Measures one number of each removal."""

    @property
    def spec(self) -> MetricSpec:
        """What it is."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names settings and weights; equal fingerprints give equal numbers."""
        ...

    def measure(self, images: Sequence[RemovedImage]) -> list[float]:
        """Measure N images of one size.

        Returns:
            N numbers in ``spec.unit``; NaN where the metric is undefined for an image.
        """
        ...


class Detector(Protocol):
    """Finds objects (papers.md fact 11: YOLO or Grounding DINO)."""

    @property
    def model_hash(self) -> str:
        """Names the weights and settings."""
        ...

    def detect(self, source: RgbImage) -> list[Detection]:
        """Find objects in H×W×3 uint8; surest first, boxes inside the image."""
        ...


class Segmenter(Protocol):
    """Cuts an object's mask (papers.md fact 11: SAM)."""

    @property
    def model_hash(self) -> str:
        """Names the weights and settings."""
        ...

    def segment(
        self, source: RgbImage, boxes: Sequence[Box], points: Sequence[Sequence[tuple[float, float]]] = ()
    ) -> list[Mask]:
        """Cut what each box holds.

        Args:
            source: H×W×3 uint8.
            boxes: N boxes, in pixels.
            points: For each box none, or some (x, y) in pixels that lie on its object; empty: boxes alone.

        Returns:
            N masks H×W bool.
        """
        ...


class GroundSegmenter(Protocol):
    """Says what each pixel shows (papers.md fact 13: Mask2Former)."""

    @property
    def model_hash(self) -> str:
        """Names the weights and settings."""
        ...

    def classify(self, source: RgbImage) -> ClassMap:
        """Class of each pixel of H×W×3 uint8; H×W uint8 of SurfaceClass values."""
        ...


class DepthEstimator(Protocol):
    """Says how far each pixel is (papers.md fact 13: Depth Anything)."""

    @property
    def model_hash(self) -> str:
        """Names the weights and settings."""
        ...

    def estimate(self, source: RgbImage) -> Depth:
        """Depth of each pixel of H×W×3 uint8, in one unit for all images; H×W float32, inf = sky."""
        ...
