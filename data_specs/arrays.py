"""Use these types for images and masks: their shapes, dtypes and ranges, defined once.

H is rows, W columns, N items. Every function of the project uses these types and no others.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RgbImage: TypeAlias = NDArray[np.uint8]
"""H×W×3 uint8, [0, 255], RGB order, sRGB."""

Mask: TypeAlias = NDArray[np.bool_]
"""H×W bool; True = remove."""

Alpha: TypeAlias = NDArray[np.float32]
"""H×W float32, [0, 1]; 1 = opaque."""

Depth: TypeAlias = NDArray[np.float32]
"""H×W float32, distance along the view axis in scene units, > 0; inf = sky."""

Matte: TypeAlias = NDArray[np.uint8]
"""H×W uint8, [0, 255]. 255 = opaque, values between = the object's soft edge. The stored form of layers."""

Effect: TypeAlias = NDArray[np.uint8]
"""H×W×3 uint8, [0, 255]: what an object does to the light of its surroundings, for each channel."""

Region: TypeAlias = NDArray[np.bool_]
"""H×W bool; True = of the kind that its name says (ground, effect …)."""
