"""Crops about moved objects: whole objects only, one or several."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask
from tasks.sources.image_ops import label_regions
from tasks.sources.squares import Square

_MARGIN_PX = 5
"""Picture left about an object inside its crop, so that a remover sees what it stands on."""
_TRIES = 6
_ROOM = (1.3, 2.6)
"""A crop's side as a multiple of its first object's long side, drawn between these."""


@dataclass(frozen=True, slots=True)
class CropLimits:
    """What a crop may be."""

    side_min_px: int
    side_max_px: int
    area_min: float
    """Masked share of the crop, 0..1."""
    area_max: float
    per_frame: int


def choose_crops(mask: Mask, limits: CropLimits, seed: int) -> Iterator[Square]:
    """Squares that hold one or more whole objects and cut through none, largest object first.

    Args:
        mask: H×W bool; each connected region is an object.
        limits: Sides, areas and number.
        seed: The same seed gives the same squares.
    """
    rng = np.random.default_rng(seed)
    labels, areas, boxes = label_regions(mask)
    order = 1 + np.argsort(-areas[1:], kind="stable")
    seen: set[frozenset[int]] = set()
    for first in order:
        if len(seen) >= limits.per_frame:
            return
        for _ in range(_TRIES):
            square = _place(boxes, labels, int(first), limits, rng)
            if square is None or not limits.area_min <= square.of(mask).mean() <= limits.area_max:
                continue
            inside = frozenset(np.unique(square.of(labels)).tolist()) - {0}
            if inside not in seen:
                seen.add(inside)
                yield square
            break


def _place(
    boxes: NDArray[np.int32],
    labels: NDArray[np.int32],
    first: int,
    limits: CropLimits,
    rng: np.random.Generator,
) -> Square | None:
    """A square about object ``first``, grown until it cuts through nothing; None when it cannot."""
    box = boxes[first]
    side = round(rng.uniform(*_ROOM) * max(box[2] - box[0], box[3] - box[1]))
    for _ in range(4):
        needed = int(max(box[2] - box[0], box[3] - box[1])) + 2 * _MARGIN_PX
        side = max(side, needed, limits.side_min_px)
        if needed > limits.side_max_px or side > min(labels.shape):
            return None
        side = min(side, limits.side_max_px)
        square = _about(box, side, labels.shape, rng)
        inside = np.unique(square.of(labels))
        inside = inside[inside > 0]
        whole = np.array([*boxes[inside, :2].min(axis=0), *boxes[inside, 2:].max(axis=0)])
        if _holds(square, whole):
            return square
        box = whole
    return None


def _about(box: NDArray[np.int32], side: int, shape: tuple[int, ...], rng: np.random.Generator) -> Square:
    """A square of ``side`` somewhere about ``box``, inside the picture."""
    starts = []
    for low, high, limit in ((box[0], box[2], shape[1]), (box[1], box[3], shape[0])):
        earliest, latest = int(high) + _MARGIN_PX - side, int(low) - _MARGIN_PX
        start = int(rng.integers(earliest, max(earliest, latest) + 1))
        starts.append(min(max(start, 0), limit - side))
    return Square(left=starts[0], top=starts[1], side=side)


def _holds(square: Square, box: NDArray[np.int32]) -> bool:
    right, bottom = square.left + square.side, square.top + square.side
    return bool(box[0] >= square.left and box[1] >= square.top and box[2] <= right and box[3] <= bottom)
