"""Augment one pair as ObjectClear does: mask, crop, flip, colours (papers.md, fact 18), or more sloppily."""

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

# Sloppy masks. NOT PUBLISHED: docs/experiments/object-clear.md chose them.

_SLOPPY_KERNELS_PX = (3, 5)
"""Minimum kernel side, and the lowest maximum. At 64 px the paper's table gives 1 px, which does nothing."""
_MOVED_FRACTION, _PART_FRACTION = 0.3, 0.2
_MAX_SHIFT = 3 / 64
"""Fraction of the image's side, along rows and along columns."""
_CUT = (0.2, 0.6)
"""Minimum and maximum fraction of the mask's pixels that a cut takes away."""


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


def augmented(
    pair: ForegroundPair, size_px: int, rng: np.random.Generator, sloppy: bool = False
) -> ForegroundPair:
    """A random variant of the pair. M_fg stays true, whatever happens to the mask.

    Args:
        pair: Height and width are at least ``size_px``.
        size_px: Side of the resulting square. The paper's is 512.
        rng: Every random number comes from it.
        sloppy: Draw the mask by ``sloppy_mask``. The paper's form is ``reshaped_mask``.
    """
    pair = _cropped(pair, size_px, rng)
    if rng.random() < 0.5:
        pair = ForegroundPair(*(np.ascontiguousarray(array[:, ::-1]) for array in _arrays(pair)))
    source, ground_truth = jittered((pair.source, pair.ground_truth), rng)
    mask = sloppy_mask(pair.mask, rng) if sloppy else reshaped_mask(pair.mask, rng)
    return replace(pair, source=source, ground_truth=ground_truth, mask=mask)


def reshaped_mask(mask: Mask, rng: np.random.Generator, kernels_px: tuple[int, int] = (1, 1)) -> Mask:
    """Dilate the mask in 67 % of cases, erode it in half of the rest. Never erode to nothing.

    Args:
        mask: H×W bool.
        rng: Every random number comes from it.
        kernels_px: Minimum side of the kernel, and the lowest maximum. The paper's form: 1 and 1.

    Returns:
        H×W bool.
    """
    low, lowest_maximum = kernels_px
    side = int(rng.integers(low, max(lowest_maximum, max_kernel(mask)) + 1))
    kernel = np.ones((side, side), np.uint8)
    chance, pixels = rng.random(), mask.astype(np.uint8)
    if chance < _DILATE_FRACTION:
        return cv2.dilate(pixels, kernel) > 0
    if chance < (1 + _DILATE_FRACTION) / 2:
        eroded = cv2.erode(pixels, kernel) > 0
        return eroded if eroded.any() else mask
    return mask


def sloppy_mask(mask: Mask, rng: np.random.Generator) -> Mask:
    """A mask as people draw it: reshaped by at least 3 px, then sometimes moved, or cut to a part.

    Args:
        mask: H×W bool, not empty.
        rng: Every random number comes from it.

    Returns:
        H×W bool, not empty.
    """
    reshaped = reshaped_mask(mask, rng, _SLOPPY_KERNELS_PX)
    chance = rng.random()
    if chance < _MOVED_FRACTION:
        return _moved(reshaped, rng)
    if chance < _MOVED_FRACTION + _PART_FRACTION:
        return _part(reshaped, rng)
    return reshaped


def _moved(mask: Mask, rng: np.random.Generator) -> Mask:
    """The mask moved along rows and columns. What leaves the image is lost; never all of it."""
    reach = max(1, round(_MAX_SHIFT * min(mask.shape)))
    by = rng.integers(-reach, reach + 1, 2)
    at = np.argwhere(mask) + by
    at = at[((at >= 0) & (at < mask.shape)).all(axis=1)]
    moved = np.zeros_like(mask)
    moved[tuple(at.T)] = True
    return moved if moved.any() else mask


def _part(mask: Mask, rng: np.random.Generator) -> Mask:
    """What lies on one side of a straight cut in a random direction."""
    rows, columns = np.nonzero(mask)
    angle = rng.uniform(0, 2 * np.pi)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    kept = along >= np.quantile(along, rng.uniform(*_CUT))
    part = np.zeros_like(mask)
    part[rows[kept], columns[kept]] = True
    return part


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
