"""The pictures' shapes, dtypes and ranges, named once.

Legend: H rows, W columns, N items. Every function of the product speaks these and no others.
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
