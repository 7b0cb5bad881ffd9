"""Align a pair's images and find what differs: the object and its effect (papers.md, fact 11)."""

from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_specs.arrays import Region, RgbImage
from tasks.sources.clip.change import change_score
from tasks.sources.clip.frames import camera_shift, match_light
from tasks.sources.image_ops import disc, drop_small, fill_holes, regions_holding

# Alignment: the camera's mount moves by a pixel, and its exposure drifts.

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


# The changed region.

_RIM_PX = 4
_RIM_ABOVE_NOISE = 4
"""Factor on the median difference of single pixels, which is noisier than the score."""


class DifferenceConfig(BaseModel):
    """The differences from which a pixel has changed. The paper publishes none; OSOR's values are named."""

    model_config = ConfigDict(frozen=True)

    strong: float = Field(
        default=0.07, gt=0, le=2, description="Minimum difference of a certain change (OSOR: 0.07)."
    )
    weak: float = Field(
        default=0.025,
        gt=0,
        le=2,
        description="Minimum difference of a weak change. It counts only where it touches a certain change.",
    )
    above_noise: float = Field(
        default=5,
        ge=0,
        le=100,
        description="Both thresholds are at least this multiple of the image's noise, its median difference.",
    )
    rim_levels: float = Field(
        default=5,
        ge=0,
        le=255,
        description="Minimum difference of a pixel at a region's rim, in grey levels.",
    )
    rim_fraction: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Minimum difference of a rim pixel, as a fraction of the maximum nearby. JPEG "
        "artefacts near edges stay below it.",
    )
    min_area_fraction: float = Field(
        default=0.003,
        ge=0,
        le=1,
        description="Minimum area of a region, as a fraction of the image (OSOR: 2,000 px, 0.0076 of "
        "512×512).",
    )
    hole_fraction: float = Field(
        default=0.0019,
        ge=0,
        le=1,
        description="Maximum area of a hole that is filled, as a fraction of the image (OSOR: 500 px of "
        "512×512).",
    )


def changed_region(source: RgbImage, ground_truth: RgbImage, config: DifferenceConfig) -> Region:
    """True where an aligned pair differs in luminance, chroma or gradient.

    Hysteresis: weak change counts if it is connected to strong change. Then the region is closed, holes are
    filled and small parts are dropped. The thresholds rise with the image's noise. Without that, JPEG noise
    would connect everything.

    Args:
        source: H×W×3 uint8.
        ground_truth: H×W×3 uint8, in the source's position and light (``align_pair``).
        config: Thresholds and areas.

    Returns:
        H×W bool: object, shadow and reflection.
    """
    score = change_score(source, ground_truth)
    noise = config.above_noise * float(np.median(score))
    strong, weak = (
        cv2.morphologyEx((score > max(level, noise)).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
        for level in (config.strong, config.weak)
    )
    held = regions_holding(cv2.bitwise_or(weak, strong), strong)
    closed = cv2.morphologyEx(held, cv2.MORPH_CLOSE, disc(max(1, round(len(score) / 180))))
    filled = fill_holes(closed, config.hole_fraction * closed.size)
    trimmed = _trimmed(filled, source, ground_truth, config)
    return drop_small(trimmed, config.min_area_fraction * closed.size)


def _trimmed(region: MatLike, source: RgbImage, ground_truth: RgbImage, config: DifferenceConfig) -> MatLike:
    """The region without the rim from blur, gradient and JPEG ringing, H×W uint8 0 or 1."""
    difference = cv2.absdiff(source, ground_truth).max(axis=2)
    level = max(config.rim_levels, _RIM_ABOVE_NOISE * float(np.median(difference)))
    beside = cv2.dilate(difference, disc(_RIM_PX)).astype(np.float32)
    differs = difference >= np.maximum(level, config.rim_fraction * beside)
    core = cv2.erode(region, disc(_RIM_PX))
    kept = cv2.bitwise_or(core, cv2.bitwise_and(region, differs.astype(np.uint8)))
    return cv2.morphologyEx(kept, cv2.MORPH_OPEN, disc(1))
