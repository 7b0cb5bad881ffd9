"""Alignment against shifts and exposures that the test itself applied, by scipy's spline instead of cv2."""

import numpy as np
import pytest
from scipy import ndimage

from data_specs.arrays import RgbImage
from tasks.objectclear.pair_difference import align_pair
from tasks.sources.synthetic.samples import SyntheticSample


def moved(image: RgbImage, right: float, down: float) -> RgbImage:
    shifted = ndimage.shift(image.astype(np.float64), (down, right, 0), order=3, mode="nearest")
    return np.clip(np.rint(shifted), 0, 255).astype(np.uint8)


def noisy(image: RgbImage, seed: int) -> RgbImage:
    grain = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("right", "down"), [(1.4, -0.7), (-1.9, 1.2), (0.5, 2.0)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel_whatever_the_exposure(
    shots: list[SyntheticSample], right: float, down: float
) -> None:
    errors = []
    for number, shot in enumerate(shots[:12]):
        darker = np.rint(moved(shot.ground_truth, -right, -down) * 0.9).astype(np.uint8)
        shift = align_pair(noisy(shot.source, number), noisy(darker, 100 + number)).shift
        errors.append(np.hypot(shift[0] - right, shift[1] - down))
    assert np.median(errors) < 0.1
    assert np.percentile(errors, 75) < 0.3  # A smooth wall and a smooth ground tell little of where they are.


def test_the_aligned_ground_truth_is_the_sources_where_nothing_changed(shots: list[SyntheticSample]) -> None:
    left = []
    for shot in shots[:12]:
        brighter = np.clip(moved(shot.ground_truth, 1.6, -0.8) * 1.08, 0, 255).astype(np.uint8)
        aligned = align_pair(shot.source, brighter)
        rows, columns = aligned.source.shape[:2]
        # Two columns and one row are what the images do not share.
        assert len(shot.source) - 2 <= rows < len(shot.source)
        assert len(shot.source) - 3 <= columns < len(shot.source)
        difference = np.abs(aligned.source.astype(int) - aligned.ground_truth).max(axis=2)
        left.append(np.median(difference))
    assert np.median(left) <= 2


def test_a_pair_that_stood_still_keeps_its_place_and_bytes(shots: list[SyntheticSample]) -> None:
    for shot in shots[:12]:
        aligned = align_pair(shot.source, shot.ground_truth)
        assert aligned.shift == (0.0, 0.0)
        assert np.array_equal(aligned.source, shot.source)
        assert np.abs(aligned.ground_truth.astype(int) - shot.ground_truth).max() <= 1
