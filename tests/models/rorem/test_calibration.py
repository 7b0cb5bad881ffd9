"""Calibration against brute force: a grid of likelihoods, counts by hand, all pairs."""

import itertools
import math

import numpy as np
import pytest

from models.rorem.calibration import (
    area_under_curve,
    calibration_error,
    fit_platt,
    pure_threshold,
    reliability,
)


def platt_loss(slope: float, offset: float, logits: np.ndarray, labels: np.ndarray) -> float:
    """Platt's smoothed cross entropy, written out."""
    yes, no = labels.sum(), (~labels).sum()
    target = np.where(labels, (yes + 1) / (yes + 2), 1 / (no + 2))
    z = slope * logits + offset
    return float(np.mean(np.logaddexp(0, z) - target * z))


def sample(count: int, slope: float, offset: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.5, 2, count)
    return logits, rng.random(count) < 1 / (1 + np.exp(-(slope * logits + offset)))


@pytest.mark.parametrize(("slope", "offset"), [(0.4, -1.0), (1.7, 0.6), (3.0, 0.0)])
def test_no_point_of_a_grid_is_likelier_than_the_fit(slope: float, offset: float) -> None:
    logits, labels = sample(150, slope, offset, seed=5)
    found = fit_platt(logits.tolist(), labels.tolist())
    grid = itertools.product(np.geomspace(0.05, 12, 120), np.linspace(-4, 4, 121))
    best = min((platt_loss(a, b, logits, labels), a, b) for a, b in grid)
    assert platt_loss(*found, logits, labels) <= best[0] + 1e-9
    assert found == pytest.approx(best[1:], abs=0.15, rel=0.06)


def test_many_labels_give_the_true_curve_back() -> None:
    logits, labels = sample(40_000, 0.8, -0.7, seed=6)
    assert fit_platt(logits.tolist(), labels.tolist()) == pytest.approx((0.8, -0.7), abs=0.05)


def test_calibrated_scores_mean_what_they_say() -> None:
    logits, labels = sample(20_000, 0.5, -1.0, seed=7)
    slope, offset = fit_platt(logits[:10_000].tolist(), labels[:10_000].tolist())
    fresh = logits[10_000:]
    raw, scores = (1 / (1 + np.exp(-z)) for z in (fresh, slope * fresh + offset))
    held_out = labels[10_000:].tolist()
    assert calibration_error(raw.tolist(), held_out) > 0.1
    assert calibration_error(scores.tolist(), held_out) < 0.02


def test_a_separable_set_gives_no_certainty_and_no_set_turns_the_order_round() -> None:
    slope, offset = fit_platt([-3.0, -2.0, 2.0, 3.0], [False, False, True, True])
    assert 0.6 < 1 / (1 + math.exp(-(3 * slope + offset))) < 0.9
    slope, offset = fit_platt([-3.0, -2.0, 2.0, 3.0], [True, True, False, False])
    assert 0 < slope < 0.05
    assert offset == pytest.approx(0, abs=0.1)


def test_one_kind_of_answer_is_pulled_towards_its_smoothed_rate() -> None:
    slope, offset = fit_platt([0.1, 0.4, -0.2], [True, True, True])
    scores = [1 / (1 + math.exp(-(slope * x + offset))) for x in (0.1, 0.4, -0.2)]
    assert np.mean(scores) == pytest.approx(4 / 5, abs=0.01)


def test_reliability_counts_by_hand() -> None:
    scores = [0.0, 0.04, 0.35, 0.31, 0.39, 0.95, 1.0]
    labels = [False, True, True, False, True, True, True]
    points = reliability(scores, labels)
    found = [(p.low, p.high, p.count, p.mean_score, p.success_rate) for p in points]
    assert found == [
        pytest.approx((0.0, 0.1, 2, 0.02, 0.5)),
        pytest.approx((0.3, 0.4, 3, 0.35, 2 / 3)),
        pytest.approx((0.9, 1.0, 2, 0.975, 1.0)),
    ]
    by_hand = (2 * 0.48 + 3 * (2 / 3 - 0.35) + 2 * 0.025) / 7
    assert calibration_error(scores, labels) == pytest.approx(by_hand)


def test_every_score_falls_into_one_bin() -> None:
    scores = np.random.default_rng(8).random(500).tolist() + [k / 10 for k in range(11)]
    points = reliability(scores, [True] * len(scores))
    assert sum(p.count for p in points) == len(scores)
    assert all(p.low - 1e-9 <= p.mean_score <= p.high for p in points)


def test_the_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(9)
    scores = np.round(rng.random(120), 1)
    labels = rng.random(120) < scores
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    assert area_under_curve(scores.tolist(), labels.tolist()) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert area_under_curve([0.1, 0.9], [True, True]) == 0.5


@pytest.mark.parametrize("error", [0.02, 0.1, 0.2])
def test_wrong_answers_do_not_move_the_curve_of_what_is_good(error: float) -> None:
    logits, good = sample(60_000, 0.8, -0.7, seed=8)
    answers = good ^ (np.random.default_rng(9).random(len(good)) < error)
    naive = fit_platt(logits.tolist(), answers.tolist())
    aware = fit_platt(logits.tolist(), answers.tolist(), error)
    assert aware == pytest.approx((0.8, -0.7), abs=0.06)
    if error >= 0.1:
        assert abs(naive[0] - 0.8) > 0.1, "without the rate, scores are pulled towards the middle"


def answered(seed: int, count: int = 300, error: float = 0.0) -> tuple[list[float], list[bool], np.ndarray]:
    """Scores, answers, and the true probability of each: a score says less than the truth."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    truth = 0.55 + 0.45 * scores
    good = rng.random(count) < truth
    return scores.tolist(), (good ^ (rng.random(count) < error)).tolist(), truth


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_a_certified_set_is_impure_no_more_often_than_stated(error: float) -> None:
    """600 draws; above a threshold t, the true purity is the mean of 0.55 + 0.45·u for u in (t, 1)."""
    impure = certified = 0
    for seed in range(600):
        scores, answers, _ = answered(seed, error=error)
        threshold = pure_threshold(scores, answers, 0.9, 0.9, error)
        if threshold is not None:
            certified += 1
            impure += 0.55 + 0.45 * (1 + threshold) / 2 < 0.9
    assert certified > 60, "it is of use"
    # A rate of at most 0.1: 600 draws exceed 78 once in a hundred.
    assert impure <= 78


def test_a_set_too_small_or_too_bad_is_not_certified_and_a_pure_one_is_whole() -> None:
    assert pure_threshold([0.9] * 10, [True] * 10, 0.9, 0.9) is None, "0.9^10 is more than a tenth"
    assert pure_threshold(np.linspace(0, 1, 200).tolist(), [True, False] * 100, 0.9, 0.9) is None
    assert pure_threshold(np.linspace(0.1, 1, 200).tolist(), [True] * 200, 0.9, 0.9) == 0.0


def test_equal_scores_are_kept_or_left_together() -> None:
    scores = [0.9] * 60 + [0.5] * 60
    threshold = pure_threshold(scores, [True] * 60 + [False] * 60, 0.9, 0.9)
    assert threshold == 0.5
