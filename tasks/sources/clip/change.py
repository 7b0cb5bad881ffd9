"""Compute a clip's clean plate, and what differs from it in a frame: the objects' mask."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask, RgbImage
from tasks.sources.clip.frames import match_light
from tasks.sources.image_ops import disc, drop_small, fill_holes, regions_holding

# The clean plate: what a fixed camera sees without anything that moves.

_STRIP_ROWS = 64
"""Rows processed at once. Memory then stays near that of the samples themselves."""
_PIXELS_AT_ONCE = 2048
_TOLERANCE = 14
"""In levels, as maximum over the channels: samples this close show the same thing."""


def clean_plate(samples: Sequence[RgbImage]) -> RgbImage:
    """Compute one H×W×3 uint8 image of the empty scene.

    Each sample is matched to the light of the middle one. Where at least half of the samples agree with a
    pixel's median, the median is taken. Elsewhere (covered more than half the time, by different things) it
    is the colour that most samples share. Both become the mean of the samples that agree. This removes the
    bias that passing objects give the median.

    Args:
        samples: At least three H×W×3 uint8 frames, spread over the clip, from one fixed camera.
    """
    reference = samples[len(samples) // 2]
    stack = np.stack([match_light(sample, reference) for sample in samples])
    plate = np.empty_like(reference)
    for top in range(0, plate.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        plate[rows] = _plate_of_strip(stack[:, rows])
    return plate


def _plate_of_strip(strip: NDArray[np.uint8]) -> RgbImage:
    """N×h×W×3 uint8 samples → h×W×3 uint8."""
    centre = np.median(strip, axis=0).astype(np.uint8)
    agree = _agrees(strip, centre)
    contested = agree.mean(axis=0) < 0.5
    if contested.any():
        centre[contested] = _commonest_colours(strip[:, contested])
        agree = _agrees(strip, centre)
    weights = agree[..., None]
    total = np.maximum(weights.sum(axis=0, dtype=np.uint32), 1)
    return np.rint((strip * weights).sum(axis=0, dtype=np.uint32) / total).astype(np.uint8)


def _agrees(strip: NDArray[np.uint8], centre: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """N×h×W bool: True where the sample is within the tolerance of the centre in every channel."""
    near = np.empty(strip.shape[:3], np.bool_)
    for index, sample in enumerate(strip):
        near[index] = cv2.absdiff(sample, centre).max(axis=2) <= _TOLERANCE
    return near


def _commonest_colours(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N×P×3 uint8 → P×3: for each pixel, the sample with most other samples near it."""
    chosen = np.empty(values.shape[1:], np.uint8)
    for start in range(0, values.shape[1], _PIXELS_AT_ONCE):
        part = values[:, start : start + _PIXELS_AT_ONCE].astype(np.int16)
        votes = np.stack([(np.abs(part - one).max(axis=2) <= _TOLERANCE).sum(axis=0) for one in part])
        best = votes.argmax(axis=0)
        chosen[start : start + best.size] = part[best, np.arange(best.size)]
    return chosen


# What changed between the plate and a frame: the objects' mask, and the frame without them.

_LUMINANCE, _CHROMA, _GRADIENT = 0.6, 0.3, 0.1
"""Weights of the difference (the initial values of OSOR's public pipeline)."""
_DARK = 24.0
"""Levels added before the logarithm. Otherwise noise in the dark would count as change."""
_WEAK = 0.6
"""A fraction of the threshold. Change this strong is object if it is connected to strong change."""
_EFFECT = 0.25
"""A fraction of the threshold. Change this strong beside an object is its shadow or motion blur."""
_HOLE_FRACTION = 0.0002
"""A fraction of the image. Larger holes show the background (between legs); smaller ones are noise."""


def change_score(image: RgbImage, plate: RgbImage) -> NDArray[np.float32]:
    """H×W float32 ≥ 0: how much each pixel differs in luminance, chroma and gradient."""
    first, second = _lab(image), _lab(plate)
    luminance = np.abs(np.log((first[..., 0] + _DARK) / (second[..., 0] + _DARK)))
    chroma = np.hypot(first[..., 1] - second[..., 1], first[..., 2] - second[..., 2]) / 40.0
    gradient = np.abs(_gradient(first[..., 0]) - _gradient(second[..., 0])) / 40.0
    score = _LUMINANCE * luminance + _CHROMA * chroma + _GRADIENT * gradient
    return np.asarray(score, np.float32)


def change_mask(score: NDArray[np.float32], *, threshold: float, min_area_px: float) -> Mask:
    """H×W bool: the moved objects.

    Hysteresis keeps weaker change only if it is connected to strong change. Closing joins the parts of a
    body. Small holes are filled. Opening removes what is thin (a tape in the wind, codec noise).

    Args:
        score: As ``change_score`` returns it.
        threshold: The score from which change is strong.
        min_area_px: Smaller regions are dropped.
    """
    radius = max(1, round(score.shape[0] / 180))
    strong = cv2.morphologyEx((score > threshold).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
    weak = (score > _WEAK * threshold).astype(np.uint8)
    closed = cv2.morphologyEx(regions_holding(weak, strong), cv2.MORPH_CLOSE, disc(radius))
    filled = fill_holes(closed, _HOLE_FRACTION * closed.size)
    thick = cv2.morphologyEx(filled, cv2.MORPH_OPEN, disc(radius))
    return drop_small(thick, min_area_px)


def without_objects(
    image: RgbImage, plate: RgbImage, mask: Mask, score: NDArray[np.float32], threshold: float
) -> RgbImage:
    """The frame without the masked objects: the plate in the mask, the frame elsewhere.

    The plate also covers a rim around each object and the weak change that touches it (motion blur, a
    shadow). It fades into the frame, so neither a ghost nor a seam remains.

    Args:
        image: H×W×3 uint8, the frame.
        plate: H×W×3 uint8, in the frame's light.
        mask: H×W bool, as ``change_mask`` returns it.
        score: H×W float32, as ``change_score`` returns it.
        threshold: The same as for ``change_mask``.
    """
    rim = max(3, round(image.shape[0] / 60))
    near = cv2.dilate(mask.astype(np.uint8), disc(rim))
    effect = (score > _EFFECT * threshold).astype(np.uint8)
    region = cv2.dilate(cv2.bitwise_or(near, regions_holding(effect, near)), disc(2))
    weight = cv2.GaussianBlur(region.astype(np.float32), (0, 0), 1.5)
    weight = np.where(near, np.float32(1), weight)[..., None]
    return np.rint(image + (plate.astype(np.float32) - image) * weight).astype(np.uint8)


def _lab(image: RgbImage) -> NDArray[np.float32]:
    """H×W×3 float32: L and the two chroma axes in levels, smoothed against codec noise."""
    smooth = cv2.GaussianBlur(image, (3, 3), 0.8)
    return cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)


def _gradient(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.25)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.25)
    return np.asarray(cv2.magnitude(across, down), np.float32)
