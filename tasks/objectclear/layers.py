"""Compute a cut-out's layers: matte, colours, and equation 1 in `effect_layer` (papers.md, fact 12)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Effect, Mask, Matte, Region, RgbImage

_EPSILON = 1.0
"""ε of equation 1, in levels. A pixel that is almost black does not tell how much light was taken."""
_UNDER_PX = 3.0
"""Standard deviation of the blur that continues the effect under the object's edge."""


def effect_layer(
    source: RgbImage, ground_truth: RgbImage, matte: Matte, effect: Region
) -> tuple[Effect, Effect]:
    """Compute darkening and brightening of a captured pair (equation 1; papers.md, fact 12).

    Darkening is (ground_truth − source) / (ground_truth + ε) for each channel. It is a fraction of the light,
    so another plate's texture shows through it. Equation 1 cannot give brightening. Brightening is added
    light: source − ground_truth in levels. It is the same over any plate, like a mirror image.

    Both are 0 outside the effect. Under the object's edge and a little further in they continue with the
    values beside it. Otherwise a bright rim would stay between an object and its shadow.

    Args:
        source: H×W×3 uint8, with the object.
        ground_truth: H×W×3 uint8, without it.
        matte: H×W uint8.
        effect: H×W bool, M_e.

    Returns:
        Darkening, H×W×3 uint8, 255 = all light. Brightening, H×W×3 uint8, levels.
    """
    plate, seen = ground_truth.astype(np.float32), source.astype(np.float32)
    off_object = effect & (matte == 0)
    fraction = np.where(off_object[..., None], (plate - seen) / (plate + np.float32(_EPSILON)), 0)
    added = np.where(off_object[..., None], seen - plate, 0)
    darkening = _reaching_under(np.maximum(fraction, 0) * 255, matte)
    brightening = _reaching_under(np.maximum(added, 0), matte)
    return np.rint(darkening).astype(np.uint8), np.rint(brightening).astype(np.uint8)


def object_colours(
    source: RgbImage, ground_truth: RgbImage, matte: Matte, darkening: Effect, brightening: Effect
) -> RgbImage:
    """Compute the object's own colours: what shows through its soft edge is removed from the source.

    Args:
        source: H×W×3 uint8.
        ground_truth: H×W×3 uint8.
        matte: H×W uint8.
        darkening: H×W×3 uint8, as `effect_layer` returns it.
        brightening: H×W×3 uint8, as `effect_layer` returns it.

    Returns:
        H×W×3 uint8. 0 outside the object.
    """
    fraction = matte[..., None].astype(np.float32) / 255
    behind = ground_truth * (1 - darkening.astype(np.float32) / 255) + brightening
    own = (source - (1 - fraction) * behind) / np.maximum(fraction, np.float32(1 / 255))
    return np.where(fraction > 0, np.rint(np.clip(own, 0, 255)), 0).astype(np.uint8)


def _reaching_under(layer: NDArray[np.float32], matte: Matte) -> NDArray[np.float32]:
    """H×W×3: the layer outside the matte, and the values of the neighbouring pixels inside."""
    background = (matte == 0).astype(np.float32)
    weight = cv2.GaussianBlur(background, (0, 0), _UNDER_PX)[..., None]
    near = cv2.GaussianBlur(layer * background[..., None], (0, 0), _UNDER_PX) / np.maximum(
        weight, np.float32(1e-3)
    )
    return np.where(background[..., None] > 0, layer, near)


# Soft matte: how much of each edge pixel the object covers, measured from the pair.

_RIM_PX = 2
"""Pixels on either side of the mask's border that may be soft."""
_NEAR_PX = 2.0
"""Standard deviation of the blur that carries colours into the rim."""
_TELLING = 20.0
"""Levels by which object and background must differ before a pixel tells its coverage."""
_EVEN = 0.2
"""Coverages closer to one half than this go to the side that the mask says."""
_MIN_INSIDE, _MAX_OUTSIDE = np.float32(128 / 255), np.float32(127 / 255)


def soft_matte(source: RgbImage, ground_truth: RgbImage, mask: Mask) -> Matte:
    """Compute the matte of a captured pair's object.

    A pixel of the rim mixes object and background. The object's colour comes from just inside the rim. The
    background is known: it is the ground truth, in the light that the source shows just outside. (ObjectClear
    leaves the edge open; SmartEraser mats without a known background.) Where the two colours are too similar,
    the blurred mask is used. Colours tell a coverage to within about a fifth. A cut at one half would then
    make the object's edge ragged, so there the mask decides.

    Args:
        source: H×W×3 uint8, with the object.
        ground_truth: H×W×3 uint8, without it.
        mask: H×W bool.

    Returns:
        H×W uint8, 255 = opaque. 0 and 255 outside the rim.
    """
    inside, around = _reach(mask, -_RIM_PX), _reach(mask, _RIM_PX)
    rim = around & ~inside
    seen, plate = source.astype(np.float32), ground_truth.astype(np.float32)
    ratio = _carried((seen + 1) / (plate + 1), ~around)
    own, behind = _carried(seen, inside), (plate + 1) * ratio - 1
    apart = own - behind
    strength = (apart * apart).sum(axis=2)
    difference = ((seen - behind) * apart).sum(axis=2) / np.maximum(strength, np.float32(1))
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
    fraction = np.where(strength > _TELLING**2, np.clip(difference, 0, 1), blurred)
    return np.rint(np.where(rim, _sided(fraction, mask), inside) * 255).astype(np.uint8)


def _sided(fraction: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """H×W: coverages near one half, moved to the side that the mask says."""
    sided = np.where(mask, np.maximum(fraction, _MIN_INSIDE), np.minimum(fraction, _MAX_OUTSIDE))
    return np.where(np.abs(fraction - 0.5) < _EVEN, sided, fraction)


def _reach(mask: Mask, pixels: int) -> Mask:
    """The mask grown by this number of pixels, or shrunk if it is negative."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(pixels) + 1, 2 * abs(pixels) + 1))
    act = cv2.dilate if pixels > 0 else cv2.erode
    return act(mask.astype(np.uint8), disc) > 0


def _carried(values: NDArray[np.float32], sources: Mask) -> NDArray[np.float32]:
    """H×W×3: the mean of the known values around each pixel."""
    weight = cv2.GaussianBlur(sources.astype(np.float32), (0, 0), _NEAR_PX)[..., None]
    total = cv2.GaussianBlur(values * sources[..., None].astype(np.float32), (0, 0), _NEAR_PX)
    return np.asarray(total / np.maximum(weight, np.float32(1e-4)), np.float32)
