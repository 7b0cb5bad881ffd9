"""Decode the masks of published annotations: polygons, and run lengths as COCO and SA-1B write them.

A run-length mask has ``size`` (rows, columns) and ``counts``. The counts are the lengths of runs of 0 and 1
in turn, from 0 on, down the columns. They are a list of numbers, or a text. In the text each number has
groups of 5 bits, the lowest first. A character's code is 48 + group, plus 32 if more groups follow. From the
fourth number on, what is written is the difference from the number two places before.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from data_specs.arrays import Mask

_FIRST_CODE, _GROUP_BITS, _MORE, _SIGN = 48, 5, 32, 16


class BadAnnotationError(ValueError):
    """An annotation's mask cannot be decoded. The message says why."""


def polygon_mask(polygons: Sequence[Sequence[float]], size: tuple[int, int], scale: float = 1) -> Mask:
    """Fill polygons: H×W bool. Polygons of fewer than three points mark nothing.

    Args:
        polygons: Each is x, y, x, y …, in pixels from the upper left corner.
        size: H, W.
        scale: The coordinates are multiplied by this.

    Raises:
        BadAnnotationError: If a polygon is no list of finite numbers in pairs.
    """
    mask = np.zeros(size, np.uint8)
    bound = 4.0 * max(size)
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadAnnotationError("a polygon is no list of numbers") from error
        if points.ndim != 1 or points.size % 2 or not np.isfinite(points).all():
            raise BadAnnotationError("a polygon is no list of finite x, y pairs")
        if points.size >= 6:
            corners = np.clip(points * scale, -bound, bound).reshape(-1, 2)
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask > 0


def segmentation_mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask of a ``segmentation`` entry of COCO or SA-1B: polygons or run lengths, H×W bool.

    Args:
        segmentation: A list of polygons, or a dictionary with ``size`` and ``counts``.
        size: H, W of the image.

    Raises:
        BadAnnotationError: If it is neither, or of another size than the image.
    """
    if isinstance(segmentation, list):
        return polygon_mask(segmentation, size)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise BadAnnotationError("its segmentation is neither polygons nor run lengths")
    stated = segmentation.get("size")
    if stated != list(size):
        raise BadAnnotationError(f"its run lengths are of size {stated} beside an image of {list(size)}")
    counts = segmentation["counts"]
    return _filled(decoded_counts(counts) if isinstance(counts, str) else counts, size)


def decoded_counts(text: str) -> list[int]:
    """The run lengths in a compressed text.

    Raises:
        BadAnnotationError: If it has a character that no group has, or ends inside a number.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - _FIRST_CODE
        if not 0 <= group < 2 * _MORE or shift > 60:
            raise BadAnnotationError(f"its run lengths hold {letter!r}")
        value |= (group & (_MORE - 1)) << shift
        shift += _GROUP_BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise BadAnnotationError("its run lengths end inside a number")
    return counts


def _filled(counts: Any, size: tuple[int, int]) -> Mask:
    whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise BadAnnotationError("its run lengths do not fill the image")
    marked = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(marked, counts).reshape(size, order="F"))
