"""Image pairs and captured pairs: one fixed camera's image with and without an object."""

from dataclasses import dataclass

from data_specs.arrays import Depth, Matte, Region, RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapturedPair:
    """The input of a cut-out (ObjectClear's captured pairs)."""

    key: str
    scene: str
    split: Split
    origin: str
    class_name: str
    source: RgbImage
    """H×W×3 uint8, with the object."""
    ground_truth: RgbImage
    """H×W×3 uint8, the same view without the object and its effect."""
    matte: Matte
    """H×W uint8, how much of each pixel the object covers."""
    effect: Region
    """H×W bool, M_e: True where shadow or reflection changes a pixel outside the object."""
    ground: Region
    """H×W bool, True on visible flat ground."""
    depth: Depth
    """H×W float32, of the source. All pairs and plates share one unit."""
    focal_px: float
    """Focal length in pixels."""


# An image pair, without any further knowledge.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePair:
    """The input from which perception makes a ``CapturedPair`` or a ``Reject`` (ObjectClear's pairs)."""

    key: str
    scene: str
    split: Split
    origin: str
    source: RgbImage
    """H×W×3 uint8, with the object."""
    ground_truth: RgbImage
    """H×W×3 uint8, without it. Exposure may differ a little, and the camera may have moved by some pixels."""
    focal_px: float
    """Focal length in pixels. A guess if the camera is unknown."""
