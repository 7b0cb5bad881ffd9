"""A picture pair: one fixed camera's picture with and without an object, of which nothing else is known."""

from dataclasses import dataclass

from data_specs.arrays import RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePair:
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
