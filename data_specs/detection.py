"""What perception finds: an object's box with its class, and the classes an image's pixels can have."""

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
    """One object that a detector found."""

    box: Box
    class_name: str
    """As the detector's own list of classes, or its prompt, says it."""
    score: float
    """How sure the detector is, 0..1."""


class SurfaceClass(IntEnum):
    """What a pixel shows, as far as placing a cut-out cares."""

    GROUND = 0
    WALL = 1
    SKY = 2
    OBJECT = 3


ClassMap: TypeAlias = NDArray[np.uint8]
"""H×W uint8; the values of SurfaceClass."""
