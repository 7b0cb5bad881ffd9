"""Bootstrap intervals: how far a mean over pictures would move with other pictures of the same kind."""

from collections.abc import Sequence

import numpy as np

from data_specs.comparison import Interval

RESAMPLES = 2000


def bootstrap_mean(values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Interval:
    """The mean and its 95 % percentile bootstrap interval (Efron 1979).

    Pictures count as independent. Neighbouring frames of one clip are not: there the interval is too narrow.

    Args:
        values: N ≥ 1 numbers without NaN, one a picture.
        seed: Of the resampling; the same seed gives the same interval.
        resamples: How many means of N values, drawn with replacement.
    """
    numbers = np.asarray(values, np.float64)
    chance = np.random.default_rng(seed)
    count = len(numbers)
    means = [numbers[chance.integers(0, count, count)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=float(numbers.mean()), low=float(low), high=float(high), pictures=count)
