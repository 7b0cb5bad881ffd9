"""A plate: a background with flat ground on which cut-outs can stand."""

from dataclasses import dataclass

from data_specs.arrays import Depth, Region, RgbImage
from data_specs.keys import Split
from data_specs.tone import Tone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plate:
    """One background (ObjectClear: flat ground, and the depth that sets the scale).

    A picture that cannot be one becomes a ``Reject`` with its reason.
    """

    key: str
    scene: str
    split: Split
    origin: str
    picture: RgbImage
    """H×W×3 uint8."""
    ground: Region
    """H×W bool, True on flat ground."""
    depth: Depth
    """H×W float32, in the unit all pairs and plates share; inf = sky."""
    focal_px: float
    """Focal length in pixels."""
    horizon: float | None
    """Row where the ground would end, from its depth; None where the depth does not tell."""
    tone: Tone
