"""Compute the clean plate: what a fixed camera sees without anything that moves."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import RgbImage
from tasks.sources.clip.frames import match_light

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
