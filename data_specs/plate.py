"""A plate: a background with flat ground on which cut-outs can stand."""

from dataclasses import dataclass

from data_specs.arrays import Depth, Region, RgbImage
from data_specs.keys import Split

# A background: an image that may become a plate.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Background:
    """The input from which perception makes a ``Plate`` or a ``Reject`` (ObjectClear: downloaded images)."""

    scene: str
    split: Split
    origin: str
    image: RgbImage
    """H×W×3 uint8."""
    focal_px: float
    """Focal length in pixels. A guess if the camera is unknown."""


# Tone: an image's overall colour and grain. A cut-out is matched to a plate by it.


@dataclass(frozen=True, slots=True)
class Tone:
    """Measured once, when a cut-out or a plate is made."""

    mean_rgb: tuple[float, float, float]
    """Mean red, green and blue, in levels."""
    grain: float
    """Standard deviation of the camera's noise, in levels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plate:
    """One background (ObjectClear: flat ground, and the depth that sets the scale).

    An image that cannot be a plate becomes a ``Reject`` with its reason.
    """

    key: str
    scene: str
    split: Split
    origin: str
    image: RgbImage
    """H×W×3 uint8."""
    ground: Region
    """H×W bool, True on flat ground."""
    depth: Depth
    """H×W float32, in the unit that all pairs and plates share; inf = sky."""
    focal_px: float
    """Focal length in pixels."""
    horizon: float | None
    """Row where the ground would end, from its depth. None if the depth does not show it."""
    tone: Tone
