"""A comparison's tables as rows of text, the same for the terminal, the page and Prefect."""

from collections.abc import Sequence

from data_specs.comparison import Comparison, Interval, MethodDifference, MethodResult
from data_specs.metric import MetricSpec
from flows.report.tables import Row
from models.metrics.registry import all_specs


def mean_rows(methods: Sequence[MethodResult]) -> list[Row]:
    """A row a metric, a column a method: mean and 95 % interval."""
    return [
        {
            "metric": spec.heading,
            **{each.method: mean_words(spec, each.means.get(name)) for each in methods},
        }
        for name, spec in all_specs().items()
        if any(name in each.means for each in methods)
    ]


def difference_rows(differences: Sequence[MethodDifference]) -> list[Row]:
    """A row a metric, a column a method: its mean difference from the first method, and interval."""
    return [
        {
            "metric": spec.heading,
            **{each.method: difference_words(spec, each.differences.get(name)) for each in differences},
        }
        for name, spec in all_specs().items()
        if any(name in each.differences for each in differences)
    ]


def left_out_rows(comparison: Comparison) -> list[Row]:
    """What was not measured, why, and what to do to have it."""
    return [
        {"metric": each.title, "reason": each.reason, "to have it": each.mend} for each in comparison.left_out
    ]


def definition_rows(comparison: Comparison) -> list[Row]:
    """What each metric measured here is."""
    measured = {name for method in comparison.methods for name in method.means}
    return [
        {"metric": spec.title, "definition": spec.definition}
        for name, spec in all_specs().items()
        if name in measured
    ]


def mean_words(spec: MetricSpec, interval: Interval | None) -> str:
    """``31.20 [30.10, 32.30]``, in the table's unit; a dash where the metric is undefined throughout."""
    return "–" if interval is None else _words(spec, interval, "")


def difference_words(spec: MetricSpec, interval: Interval | None) -> str:
    """``+1.20 [+0.90, +1.50]``; a dash where there is no picture to compare on."""
    return "–" if interval is None else _words(spec, interval, "+")


def _words(spec: MetricSpec, interval: Interval, sign: str) -> str:
    mean, low, high = (
        f"{number * spec.shown_times:{sign}.{spec.digits}f}"
        for number in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} [{low}, {high}]"
