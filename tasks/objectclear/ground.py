"""The ground's plane from depth: inverse depth is linear over a plane, so three numbers are all of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Depth, Region

_MOST_PIXELS = 1500
"""Pixels that are looked at for a fit: spread evenly, they tell as much as all."""
_TRIES = 300
"""Planes through three pixels to try; with half the pixels on the ground, one in eight is the ground."""
_REFITS = 3
_NEAR = 0.9
"""The quantile of inverse depth that stands for the near ground: a few wild pixels do not move it."""
_LEAST_VOLUME = 1e-6
"""Of three pixels' directions; less is nearly one line, and its plane anything."""

Field = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """Inverse depth = ``right``·x + ``down``·y + ``ahead``; x and y in focal lengths from the middle.

    The three are also the plane's normal in the camera's frame, over its distance.
    """

    right: float
    down: float
    ahead: float

    @property
    def pitch(self) -> float:
        """Radians between it and the picture's own plane: 0 = a wall straight ahead, or a floor below."""
        return float(np.arctan2(np.hypot(self.right, self.down), abs(self.ahead)))

    @property
    def roll(self) -> float:
        """Radians by which it leans sideways, 0..π: 0 = level; more than π/2 = a ceiling or an overhang."""
        return float(np.arctan2(abs(self.right), self.down))

    def inverse_depth(self, shape: tuple[int, ...], focal_px: float) -> Field:
        """H×W float64, in one over the depth's unit; not above 0 at and beyond the horizon."""
        y, x = directions(shape, focal_px)
        return self.right * x + self.down * y + self.ahead


def directions(shape: tuple[int, ...], focal_px: float) -> tuple[Field, Field]:
    """Where pixels look, in focal lengths from the middle: downwards H×1, and to the right 1×W."""
    down, right = (
        (np.arange(length, dtype=np.float64) - (length - 1) / 2) / focal_px for length in shape[:2]
    )
    return down[:, None], right[None, :]


def fit_ground_plane(
    depth: Depth,
    among: Region,
    focal_px: float,
    *,
    tolerance: float,
    least_pitch: float,
    most_roll: float,
) -> GroundPlane | None:
    """The plane that most pixels agree on, among planes that can be ground; the same inputs, the same plane.

    Args:
        depth: H×W float32 along the view axis, in any unit.
        among: H×W bool, pixels of known depth, > 0 and finite.
        focal_px: Focal length in pixels.
        tolerance: How far inverse depth may be off, as ``off_plane`` tells it.
        least_pitch: Radians; see ``GroundPlane.pitch``.
        most_roll: Radians; see ``GroundPlane.roll``.

    Returns:
        The plane; None if no three of the pixels span one that can be ground.
    """
    places = np.flatnonzero(among)
    places = places[:: max(1, len(places) // _MOST_PIXELS)]
    if len(places) < 3:
        return None
    y, x = directions(depth.shape, focal_px)
    rows, columns = np.divmod(places, depth.shape[1])
    seen = np.stack([x[0, columns], y[rows, 0], np.ones(len(places))], axis=1)
    inverse = 1 / depth.ravel()[places].astype(np.float64)
    planes = _planes_through_three(seen, inverse)
    planes = planes[[_can_be_ground(GroundPlane(*plane), least_pitch, most_roll) for plane in planes]]
    if not len(planes):
        return None
    # Closeness counts, not only being within the tolerance: a plane aslant between wall and floor is near
    # many pixels and on none.
    closeness = np.maximum(0, 1 - (off_plane(inverse, planes @ seen.T) / tolerance) ** 2)
    best = planes[closeness.sum(axis=1).argmax()]
    for _ in range(_REFITS):
        on_it = off_plane(inverse, seen @ best) <= tolerance
        refit = np.linalg.lstsq(seen[on_it], inverse[on_it], rcond=None)[0]
        if not _can_be_ground(GroundPlane(*refit), least_pitch, most_roll):
            break
        best = refit
    return GroundPlane(*(float(number) for number in best))


def off_plane(inverse: Field, on_plane: Field) -> Field:
    """How far inverse depth is off the plane's, as a share of it; far away, of a quarter of the near one.

    Towards the horizon the plane's inverse depth goes to 0, and no depth could be close to it in proportion.

    Args:
        inverse: P, of the pixels that may be ground.
        on_plane: P, or N×P for N planes.

    Returns:
        As ``on_plane``, at least 0.
    """
    near = np.quantile(inverse, _NEAR)
    return np.asarray(np.abs(inverse - on_plane) / np.maximum(on_plane, 0.25 * near), np.float64)


def _planes_through_three(seen: Field, inverse: Field) -> Field:
    """N×3: planes through threes of P pixels, P×3 directions and P inverse depths."""
    threes = np.random.default_rng(0).integers(0, len(seen), (_TRIES, 3))
    corners = seen[threes]
    wide = np.abs(np.linalg.det(corners)) > _LEAST_VOLUME
    solved = np.linalg.solve(corners[wide], inverse[threes[wide]][..., None])[..., 0]
    return np.asarray(solved, np.float64)


def _can_be_ground(plane: GroundPlane, least_pitch: float, most_roll: float) -> bool:
    return plane.pitch >= least_pitch and plane.roll <= most_roll
