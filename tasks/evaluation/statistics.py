"""Compare methods measured on the same images: means with intervals, and differences image by image."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data_specs.comparison import ImageResult, Interval, MethodDifference, MethodResult
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.metric import MetricName

# Bootstrap intervals: how much a mean would change with other images of the same kind.

RESAMPLES = 2000


def bootstrap_mean(values: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Interval:
    """The mean and its 95 % percentile bootstrap interval (Efron 1979).

    Images count as independent. Neighbouring frames of a clip are not; their interval is too narrow.

    Args:
        values: N ≥ 1 numbers without NaN, one for each image.
        seed: Seed of the resampling. The same seed gives the same interval.
        resamples: Number of means of N values, drawn with replacement.
    """
    numbers = np.asarray(values, np.float64)
    chance = np.random.default_rng(seed)
    count = len(numbers)
    means = [numbers[chance.integers(0, count, count)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=float(numbers.mean()), low=float(low), high=float(high), images=count)


# A results file: Parquet, one row for each image and method, with everything that the numbers depend on.

_METADATA = b"cleanplate"
_TEXTS = ("key", "scene", "origin", "method")


class Measurement(BaseModel):
    """What the numbers of one method depend on. It is kept as the file's metadata."""

    model_config = ConfigDict(frozen=True)

    method: str
    model_hash: str
    measured_on: str
    dataset_version: int | None
    split: str | None
    """None for a folder, which is used completely."""
    metrics: dict[MetricName, str]
    """The fingerprint of each metric: its config and weights."""
    effect_levels: float
    """Grey levels from which a change counts as effect (M_fg)."""
    rejects: dict[str, int]
    """Number of refused images of a folder, by reason."""


def results_bytes(measurements: Sequence[Measurement], rows: Sequence[ImageResult]) -> bytes:
    """The rows as a Parquet file. The same rows give the same bytes. An undefined value is a null.

    Args:
        measurements: One for each method, all with the same metrics.
        rows: The rows of all methods.
    """
    texts = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in _TEXTS}
    numbers = {
        metric: pa.array([row.values[metric] for row in rows], pa.float64(), from_pandas=True)
        for metric in measurements[0].metrics
    }
    assessed = {
        "success": pa.array([row.success for row in rows], pa.bool_()),
        "seconds": pa.array([row.seconds for row in rows], pa.float64()),
    }
    table = pa.table({**texts, **assessed, **numbers})
    said = json.dumps([measurement.model_dump(mode="json") for measurement in measurements])
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_METADATA: said}), sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def read_results(path: Path) -> tuple[list[Measurement], list[ImageResult]]:
    """The reverse of ``results_bytes``.

    Raises:
        InputError: If the file is missing or is no results file.
    """
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[_METADATA])
        measurements = [Measurement.model_validate(row) for row in said]
        rows = [_row(values, list(measurements[0].metrics)) for values in table.to_pylist()]
    except (OSError, KeyError, IndexError, ValueError, pa.ArrowException) as error:
        raise InputError(path, "is not a results file; delete it and evaluate again") from error
    return measurements, rows


def _row(values: dict[str, Any], metrics: Sequence[MetricName]) -> ImageResult:
    numbers: dict[MetricName, float] = {
        metric: math.nan if values[metric] is None else values[metric] for metric in metrics
    }
    facts = {name: values[name] for name in (*_TEXTS, "success", "seconds")}
    return ImageResult(**facts, values=numbers)


def method_result(measurement: Measurement, rows: Sequence[ImageResult], seed: int) -> MethodResult:
    """The means of a method, each over the images for which the metric is defined.

    Args:
        measurement: The measurement of the rows.
        rows: One for each image.
        seed: Seed of the intervals.
    """
    means = {}
    for metric in measurement.metrics:
        values = [row.values[metric] for row in rows if row.defined(metric)]
        if values:
            means[metric] = bootstrap_mean(values, _seed(seed, metric))
    return MethodResult(
        method=measurement.method,
        model_hash=measurement.model_hash,
        images=len(rows),
        means=means,
        success_rate=sum(row.success for row in rows) / len(rows),
        seconds_per_image=sum(row.seconds for row in rows) / len(rows),
    )


def method_difference(
    rows: Sequence[ImageResult], baseline: Sequence[ImageResult], seed: int
) -> MethodDifference:
    """A method minus the baseline, image by image. Hard images then do not hide the difference.

    Args:
        rows: The rows of the method.
        baseline: The rows of the baseline, for the same images in any order.
        seed: Seed of the intervals.
    """
    baseline_rows = {row.key: row for row in baseline}
    differences = {}
    for metric in rows[0].values:
        pairs = [(row, baseline_rows[row.key]) for row in rows]
        gaps = [
            one.values[metric] - other.values[metric]
            for one, other in pairs
            if one.defined(metric) and other.defined(metric)
        ]
        if gaps:
            differences[metric] = bootstrap_mean(gaps, _seed(seed, metric))
    return MethodDifference(method=rows[0].method, baseline=baseline[0].method, differences=differences)


def worst_median_best(
    rows: Sequence[ImageResult], metric: MetricName, count: int
) -> dict[str, list[ImageResult]]:
    """Rows to look at: ``count`` of the worst, ``count`` around the median, and ``count`` of the best.

    Args:
        rows: The rows of one method.
        metric: A metric where higher is better. Rows for which it is undefined are skipped.
        count: At least 1. With fewer than three times as many rows, each part gets a third. No row is in two.
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
    """The seed of a metric. All methods resample a metric alike; two metrics resample differently."""
    return int(derive_key("bootstrap", seed, metric)[:12], 16)
