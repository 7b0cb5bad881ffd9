"""Tone: a picture's mean colour, and the grain its camera left on it."""

import cv2
import numpy as np

from data_specs.arrays import RgbImage
from data_specs.tone import Tone

_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_SIGMA_OF_MEDIAN = 1.4826 / 6
"""A normal's σ over its median absolute value, and the filter's own gain (its root square sum is 6)."""


def tone_of(picture: RgbImage) -> Tone:
    """A picture's tone.

    Grain is told from a filter that is blind to slopes and straight edges (Immerkær 1996), by the median,
    which texture moves less than the mean.

    Args:
        picture: H×W×3 uint8.
    """
    red, green, blue, _ = cv2.mean(picture)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = np.abs(cv2.filter2D(grey, cv2.CV_32F, _LAPLACE))
    return Tone(mean_rgb=(red, green, blue), grain=float(np.median(fine)) * _SIGMA_OF_MEDIAN)
