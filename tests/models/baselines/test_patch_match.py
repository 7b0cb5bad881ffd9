"""PatchMatch's fill where the answer is known."""

import numpy as np
import pytest

from models.baselines.patch_match import PatchMatchFill
from models.baselines.telea import TeleaFill
from models.metrics.psnr import psnr


def _tiles(height: int, width: int) -> np.ndarray:
    """A texture that repeats every 12 px, so that the truth under any mask is known exactly."""
    tile = np.random.default_rng(3).integers(0, 256, (12, 12, 3), np.uint8)
    return np.tile(tile, (height // 12 + 1, width // 12 + 1, 1))[:height, :width]


def _removed(truth: np.ndarray, mask: np.ndarray, seed: int = 0) -> np.ndarray:
    source = np.where(mask[..., None], np.uint8(255), truth)
    return PatchMatchFill().remove([source], [mask], [seed])[0]


def test_a_repeating_texture_comes_back_where_telea_blurs_it() -> None:
    truth = _tiles(144, 160)
    mask = np.zeros(truth.shape[:2], bool)
    mask[50:92, 60:100] = True
    source = np.where(mask[..., None], np.uint8(255), truth)
    (telea,) = TeleaFill().remove([source], [mask], [0])
    assert psnr(_removed(truth, mask), truth, mask) > psnr(telea, truth, mask) + 10


def test_one_seed_gives_one_removal_and_other_seeds_others() -> None:
    truth = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    mask = np.zeros((96, 96), bool)
    mask[30:60, 30:60] = True
    first = _removed(truth, mask, 4)
    _removed(truth, mask, 9)
    np.testing.assert_array_equal(_removed(truth, mask, 4), first)
    assert not np.array_equal(_removed(truth, mask, 5), first)


@pytest.mark.parametrize(
    ("size", "hole"),
    [
        ((80, 100), np.s_[:30, :40]),
        ((80, 100), np.s_[60:, 20:90]),
        ((80, 100), np.s_[2:, 2:]),
        ((16, 16), np.s_[4:12, 4:12]),
        ((1, 9), np.s_[:, 3:5]),
        ((900, 64), np.s_[20:880, 16:48]),
    ],
    ids=["corner", "edge", "nearly all", "tiny", "one row", "at reduced size"],
)
def test_only_the_mask_changes_and_all_of_it(size: tuple[int, int], hole: tuple[slice, slice]) -> None:
    """A dark texture under a white object: a white pixel that stays would be a part of the object."""
    truth = _tiles(*size) // 2
    mask = np.zeros(size, bool)
    mask[hole] = True
    removal = _removed(truth, mask)
    assert (removal.shape, removal.dtype) == (truth.shape, np.uint8)
    np.testing.assert_array_equal(removal[~mask], truth[~mask])
    assert removal[mask].max() < 200


@pytest.mark.parametrize("level", [False, True], ids=["empty", "full"])
def test_a_mask_without_a_hole_or_without_surroundings_changes_nothing(level: bool) -> None:
    source = _tiles(40, 50)
    before = source.copy()
    (removal,) = PatchMatchFill().remove([source], [np.full((40, 50), level)], [0])
    np.testing.assert_array_equal(removal, source)
    np.testing.assert_array_equal(source, before)
    assert removal is not source


def test_its_name_tells_its_settings() -> None:
    fills = [PatchMatchFill(), PatchMatchFill(5), PatchMatchFill(context=2.0), PatchMatchFill(window_px=320)]
    assert len({fill.model_hash for fill in fills}) == 4
