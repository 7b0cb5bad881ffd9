"""Align a captured pair: the camera's mount moves by a pixel, and its exposure drifts."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage
from tasks.sources.clip.frames import camera_shift, match_light

_STILL_PX = 0.1
"""Pixels. A smaller shift is the error of the estimate: resampling would blur more than it corrects."""
_SURE_FRACTION = 0.95
"""A shift is accepted only if it leaves less than this fraction of the difference."""
_STEPS = 6
_BLUR_PX = 1.5
"""The blur in pixels before the estimate: slopes tell the shift, grain does not."""

Shift = tuple[float, float]
"""Columns to the right and rows down by which the source is shifted against the ground truth."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedPair:
    """The part that both images show. h and w are smaller than H and W by at most the shift."""

    source: RgbImage
    """h×w×3 uint8, unchanged except for the cropped border."""
    ground_truth: RgbImage
    """h×w×3 uint8, moved to the source's position and matched to its light."""
    shift: Shift


def align_pair(source: RgbImage, ground_truth: RgbImage) -> AlignedPair:
    """Move the ground truth to the source's position and match its light.

    The coarse shift comes from phase correlation, or is 0 if that leaves less difference. Least squares on
    the pixels that did not change refine it. Every step matches the light again.

    Args:
        source: H×W×3 uint8.
        ground_truth: H×W×3 uint8.
    """
    coarse = camera_shift(source, ground_truth)
    starts: list[Shift] = [(0.0, 0.0), (coarse.right, coarse.down)]
    shift = min(
        (_refined(source, ground_truth, start) for start in starts),
        key=lambda s: _left(source, ground_truth, s),
    )
    unmoved = _left(source, ground_truth, (0.0, 0.0))
    if np.hypot(*shift) < _STILL_PX or _left(source, ground_truth, shift) > _SURE_FRACTION * unmoved:
        return AlignedPair(source, match_light(ground_truth, source), (0.0, 0.0))
    inner = _common(shift, *source.shape[:2])
    moved = np.ascontiguousarray(_moved(ground_truth, shift)[inner])
    inside = np.ascontiguousarray(source[inner])
    return AlignedPair(inside, match_light(moved, inside), shift)


def _refined(source: RgbImage, ground_truth: RgbImage, start: Shift) -> Shift:
    """The start shift, improved step by step while the difference falls."""
    shift, left = start, _left(source, ground_truth, start)
    for _ in range(_STEPS):
        right, down = _step(source, ground_truth, shift)
        further = (shift[0] + right, shift[1] + down)
        now = _left(source, ground_truth, further)
        if now >= left:
            break
        shift, left = further, now
    return shift


def _step(source: RgbImage, ground_truth: RgbImage, shift: Shift) -> Shift:
    """One step of Lucas and Kanade, on the pixels that agree at least as well as most do."""
    lit = match_light(_moved(ground_truth, shift), source)
    there, here = (_smooth_grey(image) for image in (lit, source))
    rest = here - there
    slopes = [-cv2.Sobel(there, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    agree = np.abs(rest) <= max(2.0, 3 * float(np.median(np.abs(rest))))
    sides = np.stack([slope[agree] for slope in slopes], axis=1).astype(np.float64)
    square = sides.T @ sides + np.eye(2) * 1e-3
    right, down = np.linalg.solve(square, sides.T @ rest[agree])
    longest = max(1.0, float(np.hypot(right, down)))
    return float(right / longest), float(down / longest)


def _smooth_grey(image: RgbImage) -> NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR_PX), np.float32)


def _left(source: RgbImage, ground_truth: RgbImage, shift: Shift) -> float:
    """The difference that a shift leaves, in levels. The object's own difference counts little."""
    return float(np.minimum(_difference(source, ground_truth, shift), 20).mean())


def _difference(source: RgbImage, ground_truth: RgbImage, shift: Shift) -> np.ndarray:
    lit = match_light(_moved(ground_truth, shift), source)
    return np.asarray(cv2.absdiff(source, lit), np.float32).mean(axis=2)


def _moved(image: RgbImage, shift: Shift) -> RgbImage:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _common(shift: Shift, height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns that the moved ground truth still covers."""

    def span(moved: float, length: int) -> slice:
        return slice(max(0, int(np.ceil(moved))), length - max(0, int(np.ceil(-moved))))

    return span(shift[1], height), span(shift[0], width)
