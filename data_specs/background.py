"""A background: a picture that may become a plate, of which nothing is known yet."""

from dataclasses import dataclass

from data_specs.arrays import RgbImage
from data_specs.keys import Split


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Background:
    """What perception makes a ``Plate`` of, or a ``Reject`` (ObjectClear: downloaded pictures)."""

    scene: str
    split: Split
    origin: str
    picture: RgbImage
    """H×W×3 uint8."""
    focal_px: float
    """Focal length in pixels; a guess where the camera is not known."""
