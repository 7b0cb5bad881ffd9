"""The effect layer: what an object does to the light of its surroundings, apart from the picture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Effect, Matte, Region, RgbImage

_EPSILON = 1.0
"""Equation 1's ε in levels: what is nearly black tells nothing about how much light was taken."""
_UNDER_PX = 3.0
"""Standard deviation of the blur by which the effect reaches on under the object's edge."""


def effect_layer(
    source: RgbImage, ground_truth: RgbImage, matte: Matte, effect: Region
) -> tuple[Effect, Effect]:
    """Darkening and brightening of a captured pair (ObjectClear, equation 1; papers.md, fact 12).

    Darkening is (ground_truth − source) / (ground_truth + ε), a channel each: a share of the light, so that
    another plate's texture shows through it. Brightening, which equation 1 cannot give, is light that is
    added: source − ground_truth in levels, the same over any plate, as a mirror image is.

    Both are 0 beyond the effect; under the object's edge and a little further in they go on as they are
    beside it, so that no bright rim is left between an object and its shadow.

    Args:
        source: H×W×3 uint8, with the object.
        ground_truth: H×W×3 uint8, without it.
        matte: H×W uint8.
        effect: H×W bool, M_e.

    Returns:
        Darkening, H×W×3 uint8, 255 = all light; brightening, H×W×3 uint8, levels.
    """
    plate, seen = ground_truth.astype(np.float32), source.astype(np.float32)
    off_object = effect & (matte == 0)
    share = np.where(off_object[..., None], (plate - seen) / (plate + np.float32(_EPSILON)), 0)
    added = np.where(off_object[..., None], seen - plate, 0)
    darkening = _reaching_under(np.maximum(share, 0) * 255, matte)
    brightening = _reaching_under(np.maximum(added, 0), matte)
    return np.rint(darkening).astype(np.uint8), np.rint(brightening).astype(np.uint8)


def object_colours(
    source: RgbImage, ground_truth: RgbImage, matte: Matte, darkening: Effect, brightening: Effect
) -> RgbImage:
    """The object's own colours: what its soft edge lets through is taken out of the source.

    Args:
        source: H×W×3 uint8.
        ground_truth: H×W×3 uint8.
        matte: H×W uint8.
        darkening: H×W×3 uint8, as `effect_layer` gave it.
        brightening: H×W×3 uint8, likewise.

    Returns:
        H×W×3 uint8; 0 off the object.
    """
    share = matte[..., None].astype(np.float32) / 255
    behind = ground_truth * (1 - darkening.astype(np.float32) / 255) + brightening
    own = (source - (1 - share) * behind) / np.maximum(share, np.float32(1 / 255))
    return np.where(share > 0, np.rint(np.clip(own, 0, 255)), 0).astype(np.uint8)


def _reaching_under(layer: NDArray[np.float32], matte: Matte) -> NDArray[np.float32]:
    """H×W×3: outside the matte the layer itself, inside what the pixels beside it say."""
    known = (matte == 0).astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), _UNDER_PX)[..., None]
    near = cv2.GaussianBlur(layer * known[..., None], (0, 0), _UNDER_PX) / np.maximum(
        weight, np.float32(1e-3)
    )
    return np.where(known[..., None] > 0, layer, near)
