"""Compare methods measured on the same pictures: means with intervals, and differences picture by picture."""

from collections.abc import Sequence

from data_specs.comparison import MethodDifference, MethodResult, PictureResult
from data_specs.keys import derive_key
from data_specs.metric import MetricName
from tasks.evaluation.bootstrap import bootstrap_mean
from tasks.evaluation.results_file import Measurement


def method_result(measurement: Measurement, rows: Sequence[PictureResult], seed: int) -> MethodResult:
    """A method's means, each over the pictures where the metric is defined.

    Args:
        measurement: Whose rows they are.
        rows: One a picture.
        seed: Of the intervals.
    """
    means = {}
    for metric in measurement.metrics:
        values = [row.values[metric] for row in rows if row.defined(metric)]
        if values:
            means[metric] = bootstrap_mean(values, _seed(seed, metric))
    return MethodResult(
        method=measurement.method,
        model_hash=measurement.model_hash,
        pictures=len(rows),
        means=means,
        success_rate=sum(row.success for row in rows) / len(rows),
        seconds_per_picture=sum(row.seconds for row in rows) / len(rows),
    )


def method_difference(
    rows: Sequence[PictureResult], baseline: Sequence[PictureResult], seed: int
) -> MethodDifference:
    """A method minus the baseline, picture by picture, so that hard pictures do not blur the difference.

    Args:
        rows: The method's.
        baseline: The other's, of the same pictures in any order.
        seed: Of the intervals.
    """
    known = {row.key: row for row in baseline}
    differences = {}
    for metric in rows[0].values:
        pairs = [(row, known[row.key]) for row in rows]
        gaps = [
            one.values[metric] - other.values[metric]
            for one, other in pairs
            if one.defined(metric) and other.defined(metric)
        ]
        if gaps:
            differences[metric] = bootstrap_mean(gaps, _seed(seed, metric))
    return MethodDifference(method=rows[0].method, baseline=baseline[0].method, differences=differences)


def worst_median_best(
    rows: Sequence[PictureResult], metric: MetricName, count: int
) -> dict[str, list[PictureResult]]:
    """Rows to look at: ``count`` of the worst, of those about the median, and of the best.

    Args:
        rows: One method's.
        metric: One where higher is better; rows where it is undefined are passed over.
        count: At least 1; of fewer than three times as many rows, each part has a third. No row is in two.
    """
    ranked = sorted(
        (row for row in rows if row.defined(metric)), key=lambda row: (row.values[metric], row.key)
    )
    count = max(1, min(count, len(ranked) // 3))
    worst, others = ranked[:count], ranked[count:]
    best, between = others[-count:], others[:-count]
    first = max(0, (len(between) - count) // 2)
    return {"worst": worst, "median": between[first : first + count], "best": best}


def _seed(seed: int, metric: MetricName) -> int:
    """Every metric resamples on its own; every method resamples a metric alike."""
    return int(derive_key("bootstrap", seed, metric)[:12], 16)
