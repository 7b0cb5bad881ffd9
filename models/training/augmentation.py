"""Augment one pair as ObjectClear does: mask, crop, flip, colours (papers.md, fact 18)."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage

_PAPER_SIDE = 512
_DILATE_FRACTION = 0.67
_KERNELS = ((0.005, 5), (0.02, 8), (0.05, 12), (0.1, 17), (0.25, 23), (1.0, 30))
"""Maximum mask area as a fraction of the image, and the maximum kernel side at 512 px."""
_MAX_HUE = 15 / 256
"""Fraction of the whole hue circle."""


@dataclass(frozen=True, slots=True, eq=False)
class ForegroundPair:
    """A pair with the region that a removal must change."""

    source: RgbImage
    """H×W×3 uint8."""
    ground_truth: RgbImage
    """H×W×3 uint8."""
    mask: Mask
    """H×W bool, the object."""
    foreground: Mask
    """H×W bool, the object and its effect (M_fg)."""


def augmented(pair: ForegroundPair, size_px: int, rng: np.random.Generator) -> ForegroundPair:
    """A random variant of the pair. M_fg stays true, whatever happens to the mask.

    Args:
        pair: Height and width are at least ``size_px``.
        size_px: Side of the resulting square. The paper's is 512.
        rng: Every random number comes from it.
    """
    pair = _cropped(pair, size_px, rng)
    if rng.random() < 0.5:
        pair = ForegroundPair(*(np.ascontiguousarray(array[:, ::-1]) for array in _arrays(pair)))
    source, ground_truth = jittered((pair.source, pair.ground_truth), rng)
    return replace(pair, source=source, ground_truth=ground_truth, mask=reshaped_mask(pair.mask, rng))


def reshaped_mask(mask: Mask, rng: np.random.Generator) -> Mask:
    """Dilate the mask in 67 % of cases, erode it in half of the rest. Never erode to nothing. H×W bool."""
    side = int(rng.integers(1, max_kernel(mask) + 1))
    kernel = np.ones((side, side), np.uint8)
    chance, pixels = rng.random(), mask.astype(np.uint8)
    if chance < _DILATE_FRACTION:
        return cv2.dilate(pixels, kernel) > 0
    if chance < (1 + _DILATE_FRACTION) / 2:
        eroded = cv2.erode(pixels, kernel) > 0
        return eroded if eroded.any() else mask
    return mask


def max_kernel(mask: Mask) -> int:
    """Maximum kernel side in pixels, by the mask's area.

    The paper's table is for 512 px, others are in proportion.
    """
    area = mask.mean()
    side = next(side for limit, side in _KERNELS if area <= limit)
    return max(1, round(side * min(mask.shape) / _PAPER_SIDE))


def jittered(images: tuple[RgbImage, RgbImage], rng: np.random.Generator) -> tuple[RgbImage, RgbImage]:
    """Brightness, contrast and saturation ×0.8–1.2, hue ±15/256: the same on both H×W×3 uint8 images.

    Contrast pivots on the first image's mean grey in both, so equal parts stay equal.
    """
    brightness, contrast, saturation = (np.float32(rng.uniform(0.8, 1.2)) for _ in range(3))
    turn = rng.uniform(-_MAX_HUE, _MAX_HUE) * 360
    scaled = (image.astype(np.float32) / 255 * brightness for image in images)
    bright = [np.clip(image, 0, 1).astype(np.float32) for image in scaled]
    pivot = _grey(bright[0]).mean()
    jittered = []
    for light in bright:
        image = np.clip((light - pivot) * contrast + pivot, 0, 1)
        grey = _grey(image)[..., None]
        image = np.clip((image - grey) * saturation + grey, 0, 1).astype(np.float32)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + turn) % 360
        jittered.append(np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8))
    return jittered[0], jittered[1]


def _cropped(pair: ForegroundPair, size_px: int, rng: np.random.Generator) -> ForegroundPair:
    """A square that holds the mask's centroid. Its side is uniform from ``size_px`` to the short side."""
    height, width = pair.mask.shape
    side = int(rng.integers(size_px, min(height, width) + 1))
    rows, columns = np.nonzero(pair.mask)
    middle = (rows.mean(), columns.mean()) if len(rows) else (height / 2, width / 2)
    top, left = (
        int(rng.integers(max(0, int(at) + 1 - side), min(int(at), length - side) + 1))
        for at, length in zip(middle, (height, width), strict=True)
    )
    window = np.s_[top : top + side, left : left + side]
    return ForegroundPair(*(_resized(array[window], size_px) for array in _arrays(pair)))


def _resized(array: NDArray, size_px: int) -> NDArray:
    if array.shape[0] == size_px:
        return array
    if array.dtype == bool:
        return cv2.resize(array.astype(np.uint8), (size_px, size_px), interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(cv2.resize(array, (size_px, size_px), interpolation=cv2.INTER_AREA))


def _arrays(pair: ForegroundPair) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    return pair.source, pair.ground_truth, pair.mask, pair.foreground


def _grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image @ np.array([0.299, 0.587, 0.114], np.float32)
