"""Find a place for a cut-out on a plate: draw places and check them (papers.md, facts 14, 15 and 22)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import RejectReason
from tasks.objectclear.blend import Layer, scaled_layer, visible_masks
from tasks.objectclear.ground import base_of, bearing, contact_of, depression

# Conflicts between objects: whether two objects can stand as they do.

_SHADED = 24
"""The darkening, of 255, above which an object would have to be shaded itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cut-out in its place."""

    cutout: Cutout
    layer: Layer
    foot: tuple[int, int]
    """Row and column in the plate."""
    scale: float
    depth: float
    """The depth of the plate's ground at the foot."""


def far_to_near(placed: Sequence[Placed]) -> list[Placed]:
    """The order of drawing: a nearer object hides a farther one."""
    return sorted(placed, key=lambda cutout: (-cutout.depth, cutout.foot))


def placement_conflict(
    new: Placed, others: Sequence[Placed], plate: Plate, max_overlap: float
) -> RejectReason | None:
    """Why an object cannot stand beside the others: OVERLAP, IN_SHADOW, or None if it can.

    Args:
        new: The object to place.
        others: The objects that already stand there.
        plate: The plate under them.
        max_overlap: The largest fraction of an object that another object may hide.
    """
    for other in others:
        far, near = far_to_near([new, other])
        if _meet(far, near, plate.focal_px) or _hidden_fraction(far, near, plate) > max_overlap:
            return RejectReason.OVERLAP
        if _stands_in_shadow(near, far.layer):
            return RejectReason.IN_SHADOW
    return None


def _meet(far: Placed, near: Placed, focal_px: float) -> bool:
    """Whether the two would intersect: their bases, taken as round, touch on the ground."""
    apart = np.hypot(
        (far.foot[1] - near.foot[1]) * (far.depth + near.depth) / 2 / focal_px, far.depth - near.depth
    )
    return bool(apart < _half_width(far, focal_px) + _half_width(near, focal_px))


def _half_width(placed: Placed, focal_px: float) -> float:
    _, (left, right) = base_of(placed.layer.mask)
    return (right + 1 - left) / 2 * placed.depth / focal_px


def _hidden_fraction(far: Placed, near: Placed, plate: Plate) -> float:
    """The fraction of the farther object that the nearer one hides."""
    (seen, _), _ = visible_masks([far.layer, near.layer], plate.ground.shape)
    whole = int(far.layer.mask.sum())
    return 1 - int(seen.sum()) / whole


def _stands_in_shadow(near: Placed, far: Layer) -> bool:
    """Whether the nearer object's foot is in the farther one's shadow. The shadow would have to climb it."""
    rows, columns = contact_of(near.layer.mask)
    rows, columns = rows + near.layer.top - far.top, columns + near.layer.left - far.left
    height, width = far.matte.shape
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return bool((far.darkening[rows[within], columns[within]].max(axis=1, initial=0) >= _SHADED).any())


_DEPTH_SLACK = 0.1
"""Something nearer than the foot by less than this fraction stands beside the object, not in front of it."""


class PlacementConfig(BaseModel):
    """The limits of a place. The paper publishes no rules; those from SmartEraser are named."""

    model_config = ConfigDict(frozen=True)

    tries: int = Field(
        default=60,
        ge=1,
        le=1000,
        description="Number of places that are drawn for a cut-out before it is refused.",
    )
    border_fraction: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="Minimum distance of object and effect from the border, as a fraction of the shorter "
        "side.",
    )
    max_scale: float = Field(
        default=1.0, gt=0, le=4, description="Maximum scale of a cut-out. A scale above 1 blurs it."
    )
    min_height_fraction: float = Field(
        default=0.06,
        ge=0,
        le=1,
        description="Minimum height of an object, as a fraction of the image's height.",
    )
    nearer_fraction: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Maximum fraction of the object behind something nearer in the plate.",
    )
    off_ground_fraction: float = Field(
        default=0.03, ge=0, le=1, description="Maximum fraction of the effect that may lie off the ground."
    )
    view_degrees: float = Field(
        default=10,
        ge=0,
        le=90,
        description="Maximum difference of the camera's downward angle between capture and place, in "
        "degrees.",
    )
    lean_degrees: float = Field(
        default=12,
        ge=0,
        le=90,
        description="Maximum difference of the sideways angle between capture and place, in degrees. Away "
        "from the middle, upright objects lean outwards.",
    )
    max_overlap: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="Maximum fraction of an object that another may hide (SmartEraser: 0.5).",
    )


def place(
    plate: Plate,
    cutout: Cutout,
    others: Sequence[Placed],
    config: PlacementConfig,
    rng: np.random.Generator,
) -> Placed | Counter[RejectReason]:
    """Draw places on the ground until one passes all checks.

    The scale follows from depth: a cut-out gets the size that the same thing would have at that depth.

    Args:
        plate: The plate.
        cutout: The cut-out.
        others: The objects that already stand there.
        config: The limits of a place.
        rng: Draws the places.

    Returns:
        The first good place. Or, after the last try, how often each check failed.
    """
    ground, width = np.flatnonzero(plate.ground), plate.ground.shape[1]
    failed: Counter[RejectReason] = Counter()
    for pixel in ground[rng.integers(0, len(ground), config.tries)].tolist():
        position = _try(plate, cutout, divmod(pixel, width), config)
        if isinstance(position, Placed):
            fault = placement_conflict(position, others, plate, config.max_overlap)
            if fault is None:
                return position
            position = fault
        failed[position] += 1
    return failed


def scale_at(plate: Plate, cutout: Cutout, foot: tuple[int, int]) -> float:
    """Size on the plate divided by size when captured, for a foot at a pixel of the plate's ground."""
    return (cutout.foot_depth / cutout.focal_px) * (plate.focal_px / float(plate.depth[foot]))


def _try(
    plate: Plate, cutout: Cutout, foot: tuple[int, int], config: PlacementConfig
) -> Placed | RejectReason:
    """The cut-out at one place, or why it cannot stand there. The cheapest check comes first."""
    scale = scale_at(plate, cutout, foot)
    top, left = (at - scale * own for at, own in zip(foot, cutout.foot, strict=True))
    sides = [scale * side for side in cutout.matte.shape]
    fault = (
        _size_fault(plate, cutout, scale, config)
        or _view_fault(plate, cutout, foot, config)
        or _border_fault(plate, top, left, sides, config)
    )
    layer = scaled_layer(cutout, scale, foot) if fault is None else None
    if layer is None:
        return fault or RejectReason.TOO_FAR
    depth = float(plate.depth[foot])
    # The border check again, now with sizes and foot in whole pixels.
    fault = _border_fault(plate, layer.top, layer.left, layer.matte.shape, config) or _ground_fault(
        plate, layer, depth, config
    )
    return fault or Placed(cutout, layer, foot, scale, depth)


def _view_fault(
    plate: Plate, cutout: Cutout, foot: tuple[int, int], config: PlacementConfig
) -> RejectReason | None:
    height, width = plate.ground.shape
    lean = bearing(foot[1], plate.focal_px, width) - cutout.bearing
    differs = abs(lean) > np.radians(config.lean_degrees)
    if plate.horizon is not None:
        fall = depression(foot[0], plate.horizon, plate.focal_px, height) - cutout.depression
        differs = differs or foot[0] <= plate.horizon or abs(fall) > np.radians(config.view_degrees)
    return RejectReason.OTHER_VIEW if differs else None


def _size_fault(plate: Plate, cutout: Cutout, scale: float, config: PlacementConfig) -> RejectReason | None:
    if any(scale * side > most for side, most in zip(cutout.matte.shape, plate.ground.shape, strict=True)):
        return RejectReason.LARGER_THAN_PLATE
    if scale > config.max_scale:
        return RejectReason.ENLARGED
    rows = int((cutout.matte >= 128).any(axis=1).sum())
    small = scale * rows < config.min_height_fraction * len(plate.ground)
    return RejectReason.TOO_FAR if small else None


def _border_fault(
    plate: Plate, top: float, left: float, sides: Sequence[float], config: PlacementConfig
) -> RejectReason | None:
    height, width = plate.ground.shape
    margin = config.border_fraction * min(height, width)
    room = (top, left, height - top - sides[0], width - left - sides[1])
    return RejectReason.OVER_BORDER if min(room) < margin else None


def _ground_fault(plate: Plate, layer: Layer, depth: float, config: PlacementConfig) -> RejectReason | None:
    """What is wrong with the pixels of a place, or None."""
    ground = plate.ground[layer.window]
    if not ground[contact_of(layer.mask)].all():
        return RejectReason.OFF_GROUND
    nearer = plate.depth[layer.window] < (1 - _DEPTH_SLACK) * depth
    if (nearer & layer.mask).sum() > config.nearer_fraction * layer.mask.sum():
        return RejectReason.HIDDEN
    effect = layer.support & (layer.matte == 0)
    if (effect & ~ground).sum() > config.off_ground_fraction * effect.sum():
        return RejectReason.EFFECT_OFF_GROUND
    return None
