"""A captured pair: one fixed camera's image with and without an object, and what is known of both."""

from dataclasses import dataclass

from data_specs.arrays import Depth, Matte, Region, RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapturedPair:
    """What a cut-out is made from (ObjectClear's captured pairs)."""

    key: str
    scene: str
    split: Split
    origin: str
    class_name: str
    source: RgbImage
    """H×W×3 uint8, with the object."""
    ground_truth: RgbImage
    """H×W×3 uint8, the same shot without the object and its effect."""
    matte: Matte
    """H×W uint8, how much of each pixel the object covers."""
    effect: Region
    """H×W bool, M_e: True where shadow or reflection changes a pixel off the object."""
    ground: Region
    """H×W bool, True on flat ground that is seen."""
    depth: Depth
    """H×W float32, of the source; any one unit that all pairs and plates share."""
    focal_px: float
    """Focal length in pixels."""


# An image pair: one fixed camera's image with and without an object, of which nothing else is known.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePair:
    """What perception makes a ``CapturedPair`` of, or a ``Reject`` (ObjectClear's captured pairs)."""

    key: str
    scene: str
    split: Split
    origin: str
    source: RgbImage
    """H×W×3 uint8, with the object."""
    ground_truth: RgbImage
    """H×W×3 uint8, without it; exposure may differ a little, and the camera may have moved by pixels."""
    focal_px: float
    """Focal length in pixels; a guess where the camera is not known."""
