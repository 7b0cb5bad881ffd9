"""The images' shapes, dtypes and ranges, named once.

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

Matte: TypeAlias = NDArray[np.uint8]
"""H×W uint8, [0, 255]; 255 = opaque, between: the object's soft edge. What layers are stored in."""

Effect: TypeAlias = NDArray[np.uint8]
"""H×W×3 uint8, [0, 255], what an object does to the light of its surroundings, a channel each."""

Region: TypeAlias = NDArray[np.bool_]
"""H×W bool; True = of the kind its name says (ground, effect …)."""
