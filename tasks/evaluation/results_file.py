"""A results file: Parquet, one row a picture and method, with all that the numbers depend on beside them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data_specs.comparison import PictureResult
from data_specs.errors import InputError
from data_specs.metric import MetricName

_METADATA = b"cleanplate"
_TEXTS = ("key", "scene", "origin", "method")


class Measurement(BaseModel):
    """What one method's numbers depend on, kept as the file's metadata."""

    model_config = ConfigDict(frozen=True)

    method: str
    model_hash: str
    measured_on: str
    dataset_version: int | None
    split: str | None
    """None for a folder, which is taken whole."""
    metrics: dict[MetricName, str]
    """Each metric's fingerprint: its settings and weights."""
    effect_levels: float
    """Grey levels from which on a change counts as effect (M_fg)."""
    rejects: dict[str, int]
    """Pictures of a folder that were refused, by reason."""


def results_bytes(measurements: Sequence[Measurement], rows: Sequence[PictureResult]) -> bytes:
    """The rows as a Parquet file; the same rows give the same bytes. An undefined value is a null.

    Args:
        measurements: One a method, all with the same metrics.
        rows: Of all the methods.
    """
    texts = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in _TEXTS}
    numbers = {
        metric: pa.array([row.values[metric] for row in rows], pa.float64(), from_pandas=True)
        for metric in measurements[0].metrics
    }
    judged = {
        "success": pa.array([row.success for row in rows], pa.bool_()),
        "seconds": pa.array([row.seconds for row in rows], pa.float64()),
    }
    table = pa.table({**texts, **judged, **numbers})
    said = json.dumps([each.model_dump(mode="json") for each in measurements])
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_METADATA: said}), sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def read_results(path: Path) -> tuple[list[Measurement], list[PictureResult]]:
    """The reverse of ``results_bytes``.

    Raises:
        InputError: If the file is missing or no results file.
    """
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[_METADATA])
        measurements = [Measurement.model_validate(each) for each in said]
        rows = [_row(values, list(measurements[0].metrics)) for values in table.to_pylist()]
    except (OSError, KeyError, IndexError, ValueError, pa.ArrowException) as error:
        raise InputError(path, "not a results file; remove it and evaluate again") from error
    return measurements, rows


def _row(values: dict[str, Any], metrics: Sequence[MetricName]) -> PictureResult:
    numbers: dict[MetricName, float] = {
        metric: math.nan if values[metric] is None else values[metric] for metric in metrics
    }
    facts = {name: values[name] for name in (*_TEXTS, "success", "seconds")}
    return PictureResult(**facts, values=numbers)
