"""Shadow classes of unseen studio pairs against the sun's true azimuth."""

from collections import Counter

import numpy as np
import pytest

from data_specs.captured_pair import CapturedPair
from data_specs.cutout import SHADOW_DIRECTIONS
from tasks.objectclear.ground import fit_horizon, shadow_angle, shadow_class_of
from tasks.objectclear.layers import effect_layer
from tasks.sources.synthetic.samples import SyntheticConfig, as_captured_pair, make_sample


def angle_of(pair: CapturedPair, focal_px: float) -> float | None:
    horizon = fit_horizon(pair.depth, pair.ground)
    assert horizon is not None
    darkening, _ = effect_layer(pair.source, pair.ground_truth, pair.matte, pair.effect)
    return shadow_angle(darkening, pair.matte >= 128, pair.ground, horizon, focal_px)


def test_nine_in_ten_unseen_shadows_are_told_to_a_neighbour() -> None:
    """Test split, other scenes than those the estimator was tried on; the focal length is not told."""
    near: Counter[bool] = Counter()
    for number in range(100):
        shot = make_sample(SyntheticConfig(size_px=128, seed=77, split="test"), number)
        angle = angle_of(as_captured_pair(shot, "test"), focal_px=128.0)
        if shot.azimuth is None:
            assert angle is None, f"{shot.origin} is overcast"
            continue
        steps = 4
        if angle is not None:
            true, told = shadow_class_of(shot.azimuth + np.pi), shadow_class_of(angle)
            apart = (SHADOW_DIRECTIONS.index(told) - SHADOW_DIRECTIONS.index(true)) % 8
            steps = min(apart, 8 - apart)
        near[steps <= 1] += 1
    assert near.total() > 60
    assert near[True] / near.total() >= 0.9


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (0, "away"),
        (22, "away"),
        (23, "away-right"),
        (90, "right"),
        (180, "towards"),
        (-180, "towards"),
        (270, "left"),
        (-45, "away-left"),
        (359, "away"),
    ],
)
def test_classes_start_straight_away_and_grow_to_the_right(degrees: float, expected: str) -> None:
    assert shadow_class_of(np.radians(degrees)) == expected


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(78, 82), slice(70, 100), "right"),
        (slice(78, 82), slice(20, 50), "left"),
        (slice(83, 110), slice(56, 64), "towards"),
    ],
)
def test_a_drawn_shadow_falls_where_it_was_drawn(rows: slice, columns: slice, expected: str) -> None:
    mask = np.zeros((128, 120), bool)
    mask[60:81, 54:66] = True
    darkening = np.zeros((128, 120, 3), np.uint8)
    darkening[rows, columns] = 90
    angle = shadow_angle(darkening, mask, np.ones_like(mask), horizon=10.0, focal_px=120.0)
    assert angle is not None
    assert shadow_class_of(angle) == expected


def test_a_dark_wall_is_no_shadow() -> None:
    mask = np.zeros((128, 120), bool)
    mask[60:81, 54:66] = True
    darkening = np.full((128, 120, 3), 90, np.uint8)
    assert shadow_angle(darkening, mask, np.zeros_like(mask), horizon=10.0, focal_px=120.0) is None
