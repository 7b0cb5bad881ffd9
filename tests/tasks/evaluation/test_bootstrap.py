"""Bootstrap intervals against scipy's."""

import numpy as np
import pytest
from scipy import stats

from tasks.evaluation.statistics import RESAMPLES, bootstrap_mean


@pytest.mark.parametrize("count", [2, 17, 300])
def test_the_interval_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).gamma(2, 5, count)
    found = bootstrap_mean(values.tolist(), seed=7)
    # scipy draws the same indices from the same generator, so the intervals are equal, not only alike.
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.images == count
    assert found.low < found.mean < found.high


def test_it_is_as_wide_as_the_normal_theory_says() -> None:
    values = np.random.default_rng(1).normal(30, 4, 900)
    found = bootstrap_mean(values.tolist(), seed=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 4 / 30, rel=0.08)


def test_a_seed_gives_one_interval_and_another_seed_another() -> None:
    values = [1.0, 5.0, 2.0, 8.0, 3.0]
    assert bootstrap_mean(values, 3) == bootstrap_mean(values, 3)
    assert bootstrap_mean(values, 3) != bootstrap_mean(values, 4)


def test_one_image_has_no_spread() -> None:
    found = bootstrap_mean([4.0], 0)
    assert (found.low, found.mean, found.high) == (4, 4, 4)
