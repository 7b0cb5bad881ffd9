"""What the base learns from: pictures WITH objects, and random or object-shaped holes to fill.

The base stands where SDXL-inpainting stands: it never sees a clean plate, so it paints well and often
paints an object back (RORem table 1: the base succeeds in 7.6 % of cases).
"""

import cv2
import numpy as np

from data_specs.arrays import Mask, RgbImage
from data_specs.triplet import Triplet

_OWN_OBJECT, _OTHER_OBJECT, _BOX = 0.2, 0.6, 0.8
"""Cumulative shares of the kinds of hole; the rest are brush strokes."""


def base_triplet(triplets: list[Triplet], draw: int, seed: int) -> tuple[RgbImage, Mask]:
    """Picture and hole number ``draw``.

    Args:
        triplets: Their sources are the pictures, their masks the object shapes.
        draw: Number of the draw.
        seed: Another seed, other holes.

    Returns:
        H×W×3 uint8 picture with its objects, H×W bool hole.
    """
    rng = np.random.default_rng([seed, draw])
    own = triplets[int(rng.integers(len(triplets)))]
    other = triplets[int(rng.integers(len(triplets)))]
    kind = rng.random()
    if kind < _OWN_OBJECT:
        hole = _grown(own.mask, int(rng.integers(0, 4)))
    elif kind < _OTHER_OBJECT:
        hole = _moved(_grown(other.mask, int(rng.integers(0, 4))), rng)
    elif kind < _BOX:
        hole = _box(own.mask.shape, rng)
    else:
        hole = _strokes(own.mask.shape, rng)
    flip = rng.random() < 0.5
    picture = own.source[:, ::-1] if flip else own.source
    return np.ascontiguousarray(picture), np.ascontiguousarray(hole[:, ::-1] if flip else hole)


def _grown(mask: Mask, pixels: int) -> Mask:
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def _moved(mask: Mask, rng: np.random.Generator) -> Mask:
    """The shape anywhere in the picture, never wholly outside."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    down = int(rng.integers(0, height)) - int(rows.mean())
    right = int(rng.integers(0, width)) - int(columns.mean())
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(mask.astype(np.uint8), shift, (width, height)) > 0


def _box(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    height, width = shape
    tall, wide = (int(s * rng.uniform(0.12, 0.45)) for s in shape)
    top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
    mask = np.zeros(shape, bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


def _strokes(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    mask = np.zeros(shape, np.uint8)
    corners = (rng.uniform(0, 1, (int(rng.integers(2, 5)), 2)) * shape[::-1]).astype(np.int32)
    thickness = int(shape[0] * rng.uniform(0.06, 0.16))
    cv2.polylines(mask, [corners.reshape(-1, 1, 2)], isClosed=False, color=1, thickness=thickness)
    return mask > 0
