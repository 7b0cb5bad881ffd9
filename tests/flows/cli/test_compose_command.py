"""`cleanplate composite`, as people and machines use it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli.main import app

run = CliRunner().invoke


@pytest.mark.usefixtures("prefect_server")
def test_composed_counted_and_exported(tmp_path: Path) -> None:
    studio = {"size_px": 96, "seed": 9}
    config = {
        "pairs": [{"kind": "synthetic", "count": 12, "renderer": studio}],
        "backgrounds": [{"kind": "synthetic", "scenes": 4, "renderer": studio}],
        "attempts": 10,
    }
    (tmp_path / "small.json").write_text(json.dumps(config))
    words = ["composite", "--config", str(tmp_path / "small.json")]
    place = ["--workspace", str(tmp_path / "workspace"), "--export", str(tmp_path / "ober")]
    first = run(app, [*words, *place, "--json"])
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    made = {stage["stage"]: stage for stage in told["stages"]}
    assert made["cut-outs"]["kept"] + sum(made["cut-outs"]["rejects"].values()) == 12
    assert told["exported"] == made["composites"]["by_split"]
    rows = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "ober/data").iterdir())
    assert rows == made["composites"]["kept"] > 0
    tried = rows + sum(made["composites"]["rejects"].values())
    assert 10 <= tried <= 2 * 10, "the file's draws, one or two objects each"
    again = run(app, [*words, *place])
    assert again.exit_code == 0, again.output
    assert f"Exported: {rows} rows" in again.stdout
    assert "Contact sheets:" in again.stdout


@pytest.mark.usefixtures("prefect_server")
def test_a_folder_without_its_parts_exits_with_1(tmp_path: Path) -> None:
    words = ["composite", "--pairs", str(tmp_path), "--workspace", str(tmp_path / "workspace")]
    result = run(app, words)
    assert result.exit_code == 1
    assert "holds no folder source/" in result.output.replace("\n", " ")
