import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_specs.comparison import ImageResult
from data_specs.errors import InputError
from tasks.evaluation.statistics import Measurement, read_results, results_bytes

MEASUREMENT = Measurement(
    method="telea", model_hash="telea-3", measured_on="w", dataset_version=4, split="test",
    metrics={"psnr": "psnr 60", "psnr_bg": "psnr_bg 60"}, effect_levels=6, rejects={"mask is empty": 2},
)  # fmt: skip
ROWS = [
    ImageResult("k1", "s1", "studio:1", "telea", {"psnr": 30.25, "psnr_bg": 60.0}, True, 0.25),
    ImageResult("k2", "s1", "studio:2", "telea", {"psnr": 12.5, "psnr_bg": math.nan}, False, 0.5),
]


def test_what_is_written_is_read_and_undefined_is_null(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    path.write_bytes(results_bytes([MEASUREMENT], ROWS))
    measurements, rows = read_results(path)
    assert measurements == [MEASUREMENT]
    assert rows[0] == ROWS[0]
    assert rows[1].values["psnr"] == 12.5
    assert not rows[1].defined("psnr_bg")
    # Anybody's Parquet reader sees one row an image and method, with a null where nothing was measured.
    table = pq.read_table(path)
    assert table.column_names == ["key", "scene", "origin", "method", "success", "seconds", "psnr", "psnr_bg"]
    assert table["psnr_bg"].to_pylist() == [60.0, None]


def test_the_same_rows_give_the_same_bytes() -> None:
    assert results_bytes([MEASUREMENT], ROWS) == results_bytes([MEASUREMENT], ROWS)


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    for damage in (b"", b"PAR1 and no more", results_bytes([MEASUREMENT], ROWS)[:-9]):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=r"r\.parquet: is not a results file"):
            read_results(path)
