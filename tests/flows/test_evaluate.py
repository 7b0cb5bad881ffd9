"""The whole evaluation through the real flow, on a real Prefect server, with a metric that needs weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from pydantic import ValidationError
from safetensors.torch import save_file

from data_specs.comparison import Comparison
from data_specs.errors import InputError
from data_specs.metric import MetricName
from flows.evaluate import EvaluateConfig, evaluate
from models.metrics.lpips import FILE_NAME, AlexLpips
from models.metrics.registry import MetricConfig
from tasks.sources.readers import FolderSource

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def config(tmp_path: Path, write_pair) -> EvaluateConfig:
    for number in range(4):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    (tmp_path / "weights/lpips").mkdir(parents=True)
    save_file(AlexLpips().state_dict(), tmp_path / "weights/lpips" / FILE_NAME)
    return EvaluateConfig(
        images=FolderSource(path=tmp_path / "pairs", size_px=48),
        methods=("telea", "rorem"),
        metrics=MetricConfig(weights=tmp_path / "weights"),
        out=tmp_path / "out",
        grid_rows=1,
    )


def assert_prefect_shows_it(found: Comparison) -> None:
    keys = ["metrics", "metric-differences", "metrics-left-out", "samples-rorem-worst-median-and-best"]
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=keys))
        newest_first = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)
    # Other evaluations of this session's server have left theirs under the same keys: the newest wins.
    shown = {str(each.key): each.data for each in reversed(newest_first)}
    assert set(shown) == set(keys)
    rows = json.loads(str(shown["metrics"]))
    assert rows[0]["metric"] == "PSNR dB ↑"
    assert rows[0]["rorem"].startswith(f"{found.methods[1].means['psnr'].mean:.2f} [")
    assert str(shown["samples-rorem-worst-median-and-best"]).startswith("data:image/png;base64,")


def test_a_folder_end_to_end_and_a_second_time(config: EvaluateConfig) -> None:
    ended = evaluate(config, return_state=True)
    found = ended.result()
    run = ended.state_details.flow_run_id
    assert run is not None
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run).name == "evaluate telea, rorem on pairs"
    assert [method.method for method in found.methods] == ["telea", "rorem"]
    measured: list[MetricName] = ["psnr", "psnr_fg", "psnr_bg", "ssim", "lpips"]
    assert all(list(method.means) == measured for method in found.methods)
    assert [each.title for each in found.left_out] == ["CLIP", "DINO", "ReMOVE", "ReMOVE+"]

    table = pq.read_table(config.out / "results.parquet")
    assert table.num_rows == 8
    by_method = {method.method: table.filter(pc.field("method") == method.method) for method in found.methods}
    for method in found.methods:
        for metric in measured:
            column = by_method[method.method][metric].to_pylist()
            assert method.means[metric].mean == pytest.approx(np.mean(column))
    paired = [
        one - other
        for one, other in zip(
            by_method["rorem"]["lpips"].to_pylist(), by_method["telea"]["lpips"].to_pylist(), strict=True
        )
    ]
    assert found.differences[0].differences["lpips"].mean == pytest.approx(np.mean(paired))

    said = json.loads((table.schema.metadata or {})[b"cleanplate"])
    assert [each["model_hash"] for each in said] == [method.model_hash for method in found.methods]
    assert list(said[0]["metrics"]) == measured
    assert Comparison.model_validate_json((config.out / "comparison.json").read_bytes()) == found
    for method in ("telea", "rorem"):
        grid = cv2.imread(str(config.out / f"{method}-worst-median-and-best.png"), cv2.IMREAD_UNCHANGED)
        assert grid is not None
        assert grid.shape[0] > 3 * 128, "a worst, a median and a best image"

    assert_prefect_shows_it(found)
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    stamps = {path: path.stat().st_mtime_ns for path in (config.out / "measured").iterdir()}
    assert evaluate(config) == found
    assert {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()} == before
    assert {path: path.stat().st_mtime_ns for path in (config.out / "measured").iterdir()} == stamps


def test_the_papers_tables_hold_published_rows_and_ours(config: EvaluateConfig) -> None:
    found = evaluate(config.model_copy(update={"table": True, "grid_rows": 0}))
    tables = {table.key: table for table in found.paper_tables}
    assert list(tables) == ["rorem-1", "rorem-2", "object-clear", "object-clear-rord"]
    assert [row.figures for row in tables["rorem-1"].rows] == ["published"] * 9, "a folder knows of no cycle"
    ours = {row.name: row.numbers for row in tables["rorem-2"].rows if row.figures == "here"}
    table = pq.read_table(config.out / "results.parquet")
    for method in found.methods:
        mine = table.filter(pc.field("method") == method.method)
        numbers = ours[method.method]
        assert set(numbers) == {"success", "psnr", "lpips", "seconds"}
        assert numbers["success"] == pytest.approx(100 * np.mean(mine["success"].to_pylist()))
        assert numbers["lpips"] == pytest.approx(100 * np.mean(mine["lpips"].to_pylist()))
        assert numbers["seconds"] == pytest.approx(np.mean(mine["seconds"].to_pylist()))
    (row,) = [row for row in tables["object-clear"].rows if row.name == "rorem" and row.figures == "here"]
    assert row.numbers["lpips"] == pytest.approx(ours["rorem"]["lpips"] / 100), "not × 100 in this paper"
    page = (config.out / "paper-tables.md").read_text()
    assert "| RORem | published | 76.2 | 31.10 | 2.86 | 0.77 | 23.28 | 4.03 |" in page
    assert f"| rorem | here | {ours['rorem']['success']:.1f} |" in page


def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two methods have the name rorem"):
        EvaluateConfig(methods=("rorem", "/models/rorem"))


def test_an_output_that_is_a_file_is_said(config: EvaluateConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("taken")
    with pytest.raises(InputError, match="cannot be used as a folder for results"):
        evaluate(config.model_copy(update={"out": tmp_path / "file"}))
