"""Mask variants: each holds the mask, each skirt lies on its own side, about the foot."""

from typing import get_args

import numpy as np
import pytest

from models.images.mask_variants import MaskVariant, widen

VARIANTS: tuple[MaskVariant, ...] = get_args(MaskVariant)


def standing(rows: tuple[int, int], columns: tuple[int, int], side: int = 128) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


@pytest.fixture
def mask() -> np.ndarray:
    return standing((40, 80), (56, 74))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("rows", "columns"),
    [((40, 80), (56, 74)), ((0, 9), (0, 30)), ((120, 128), (127, 128)), ((0, 128), (0, 128))],
)
def test_the_widened_mask_holds_the_mask(
    variant: MaskVariant, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    tight = standing(rows, columns)
    before = tight.copy()
    wide = widen(tight, variant)
    assert wide.dtype == np.bool_
    assert wide.shape == tight.shape
    assert wide[tight].all()
    np.testing.assert_array_equal(tight, before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_masked_stays_nothing(variant: MaskVariant) -> None:
    assert not widen(np.zeros((64, 64), bool), variant).any()


@pytest.mark.parametrize(("side", "reach"), [(64, 2), (128, 5)])
def test_a_tiny_mask_grows_by_a_disc(side: int, reach: int) -> None:
    mask = standing((side // 2, side // 2 + 1), (side // 2, side // 2 + 1), side)
    rows, columns = np.nonzero(widen(mask, "dilated"))
    assert (np.ptp(rows), np.ptp(columns)) == (2 * reach, 2 * reach)
    distances = np.hypot(rows - side // 2, columns - side // 2)
    assert distances.max() <= reach + 0.8, "a disc, not a square"


@pytest.mark.parametrize(("variant", "sign"), [("left", -1), ("right", 1)])
def test_a_skirt_reaches_to_its_side_about_the_foot(
    mask: np.ndarray, variant: MaskVariant, sign: int
) -> None:
    dilated = widen(mask, "dilated")
    rows, columns = np.nonzero(widen(mask, variant) & ~dilated)
    assert len(rows) > 100
    edge, other_edge = (73, 56) if sign > 0 else (56, 73)
    assert (sign * (columns - other_edge) >= 0).all(), "nothing beyond the object's other side"
    assert max(sign * (columns - edge)) >= 20, "half the object's height beyond its edge"
    assert rows.min() > 40 + 40 // 3, "below the object's upper third"
    assert abs(rows.mean() - 79) < 12


def test_left_mirrors_right(mask: np.ndarray) -> None:
    left, right = widen(mask, "left"), widen(mask[:, ::-1], "right")[:, ::-1]
    assert (left & right).sum() / (left | right).sum() > 0.95


def test_at_full_size_it_grows_as_the_release_grows_it() -> None:
    """A kernel of 20×20 at 512 px: ten pixels to one side and nine to the other."""
    mask = np.zeros((512, 640), bool)
    mask[200, 300] = True
    rows, columns = np.nonzero(widen(mask, "dilated"))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (20, 20, 400)
    assert abs(rows.mean() - 200) <= 0.5
    assert abs(columns.mean() - 300) <= 0.5
