"""A cut-out: an object with its effect on the ground, as a layer for any plate."""

from dataclasses import dataclass
from typing import Literal

from data_specs.arrays import Effect, Matte, RgbImage
from data_specs.keys import Split
from data_specs.plate import Tone

ShadowClass = Literal[
    "none",
    "away",
    "away-right",
    "right",
    "towards-right",
    "towards",
    "towards-left",
    "left",
    "away-left",
]
"""Direction of a shadow on the ground, seen from the camera: away from it, to its right, towards it …"""

SHADOW_DIRECTIONS: tuple[ShadowClass, ...] = (
    "away",
    "away-right",
    "right",
    "towards-right",
    "towards",
    "towards-left",
    "left",
    "away-left",
)
"""The eight classes of 45° (ObjectClear clusters into eight). Class k is centred on k·45°. 0° points straight
away from the camera on the ground. Angles grow to the right (clockwise seen from above)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cutout:
    """One object's layer: h rows, w columns, the box of object and effect.

    Over a plate P it gives matte·image + (1 − matte)·(P·(1 − darkening) + brightening).
    """

    key: str
    scene: str
    """Lineage: the scene of the source pair."""
    split: Split
    origin: str
    class_name: str
    image: RgbImage
    """h×w×3 uint8, the object's own colours, without the background at its edge. 0 outside the object."""
    matte: Matte
    """h×w uint8, the object's soft mask."""
    darkening: Effect
    """h×w×3 uint8, fraction of the plate's light that is removed, 255 = all (ObjectClear, equation 1)."""
    brightening: Effect
    """h×w×3 uint8, levels to add: reflections and bounced light, which equation 1 cannot express."""
    foot: tuple[int, int]
    """Row and column where the object stands: the lowest row of its mask, at the middle of its base."""
    foot_depth: float
    """Depth of the ground at the foot, in the unit that all pairs and plates share."""
    focal_px: float
    """Focal length in pixels of the camera that captured it."""
    depression: float
    """Radians below the horizon at which the camera saw the foot."""
    bearing: float
    """Radians to the right of the camera's axis at which it saw the foot."""
    shadow_class: ShadowClass
    tone: Tone
    """Tone of the pair's ground truth."""
