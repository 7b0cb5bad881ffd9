"""Neighbours: may two objects stand as they do?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import RejectReason
from tasks.objectclear.blend import seen_of
from tasks.objectclear.foot import base_of, contact_of
from tasks.objectclear.layer import Layer

_SHADED = 24
"""Darkening, of 255, in which an object would have to be shaded itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cut-out in its place."""

    cutout: Cutout
    layer: Layer
    foot: tuple[int, int]
    """Row and column of the plate."""
    scale: float
    depth: float
    """Of the plate's ground at the foot."""


def far_to_near(placed: Sequence[Placed]) -> list[Placed]:
    """The order in which they are drawn: what is nearer hides what is farther."""
    return sorted(placed, key=lambda each: (-each.depth, each.foot))


def quarrel(
    new: Placed, others: Sequence[Placed], plate: Plate, greatest_overlap: float
) -> RejectReason | None:
    """Why an object cannot stand beside the others: OVERLAP, IN_SHADOW, or None.

    Args:
        new: The object.
        others: Those that stand already.
        plate: Under them.
        greatest_overlap: Share of an object that another may hide.
    """
    for other in others:
        far, near = far_to_near([new, other])
        if _meet(far, near, plate.focal_px) or _hidden_share(far, near, plate) > greatest_overlap:
            return RejectReason.OVERLAP
        if _stands_in_shadow(near, far.layer):
            return RejectReason.IN_SHADOW
    return None


def _meet(far: Placed, near: Placed, focal_px: float) -> bool:
    """Whether the two would stand in one another: their bases, taken for round, touch on the ground."""
    apart = np.hypot(
        (far.foot[1] - near.foot[1]) * (far.depth + near.depth) / 2 / focal_px, far.depth - near.depth
    )
    return bool(apart < _half_width(far, focal_px) + _half_width(near, focal_px))


def _half_width(placed: Placed, focal_px: float) -> float:
    _, (left, right) = base_of(placed.layer.mask)
    return (right + 1 - left) / 2 * placed.depth / focal_px


def _hidden_share(far: Placed, near: Placed, plate: Plate) -> float:
    """Share of the farther object that the nearer one hides."""
    (seen, _), _ = seen_of([far.layer, near.layer], plate.ground.shape)
    whole = int(far.layer.mask.sum())
    return 1 - int(seen.sum()) / whole


def _stands_in_shadow(near: Placed, far: Layer) -> bool:
    """Whether the nearer object's foot is in the farther one's shadow, which would have to climb up on it."""
    rows, columns = contact_of(near.layer.mask)
    rows, columns = rows + near.layer.top - far.top, columns + near.layer.left - far.left
    height, width = far.matte.shape
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return bool((far.darkening[rows[within], columns[within]].max(axis=1, initial=0) >= _SHADED).any())
