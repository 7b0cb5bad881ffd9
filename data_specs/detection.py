"""Results of perception: an object's box with its class, and the surface class of each pixel."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, half-open: columns ``left <= x < right``, rows ``top <= y < bottom``."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected object."""

    box: Box
    class_name: str
    """The name from the detector's own list of classes, or from its prompt."""
    score: float
    """The detector's confidence, 0..1."""


class SurfaceClass(IntEnum):
    """The surface that a pixel shows, in the classes that matter for placing a cut-out."""

    GROUND = 0
    WALL = 1
    SKY = 2
    OBJECT = 3


ClassMap: TypeAlias = NDArray[np.uint8]
"""H×W uint8, values of SurfaceClass."""
