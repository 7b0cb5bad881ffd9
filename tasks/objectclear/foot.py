"""The foot: where an object touches the ground."""

import numpy as np
from numpy.typing import NDArray

from data_specs.arrays import Mask

_BASE_SHARE = 0.1
"""Of the object's height: its lowest part, which is as wide as its base."""


def base_of(mask: Mask) -> tuple[int, tuple[int, int]]:
    """The lowest row of an object that is not empty, and the leftmost and rightmost column of its base."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(_base(mask, rows).any(axis=0))
    return int(rows[-1]), (int(columns[0]), int(columns[-1]))


def foot_of(mask: Mask) -> tuple[int, int]:
    """Row and column of the foot: the lowest row, in the middle of the base."""
    row, (left, right) = base_of(mask)
    return row, (left + right) // 2


def contact_of(mask: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that touch the ground: the lower edge of the base."""
    rows = np.flatnonzero(mask.any(axis=1))
    base = _base(mask, rows)
    columns = np.flatnonzero(base.any(axis=0))
    return rows[-1] - base[::-1, columns].argmax(axis=0), columns


def _base(mask: Mask, rows: NDArray[np.intp]) -> Mask:
    """The rows of the base, the last of them the object's lowest."""
    tall = rows[-1] + 1 - rows[0]
    return mask[rows[-1] + 1 - max(1, round(_BASE_SHARE * tall)) : rows[-1] + 1]
