"""Measuring a method: rows against the single images, and work that is done once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_specs.assessment import QualityConfig
from data_specs.errors import InputError, LedgerError
from data_specs.triplet import Triplet
from models.baselines.telea import TeleaFill
from models.metrics.psnr import psnr
from models.metrics.registry import MetricConfig
from tasks.evaluation.benchmark import (
    CHAMPION,
    MeasureWork,
    measure,
    method_remover,
    recorded_model,
    same_size_batches,
)
from tasks.evaluation.statistics import read_results
from tasks.evaluation.success import assess
from tasks.evaluation.test_set import VersionSet, pinned
from tasks.registry.removers import open_champion
from tasks.sources.readers import FolderSource
from tasks.sources.triplet_files import FolderConfig, folder_triplets


@pytest.fixture
def pairs(tmp_path: Path, write_pair) -> Path:
    for number in range(5):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    (tmp_path / "pairs/mask/p4.png").unlink()
    return tmp_path / "pairs"


def work_on(folder: Path, method: str = "telea", **quality: float) -> MeasureWork:
    return MeasureWork(
        method=method,
        images=pinned(FolderSource(path=folder, size_px=48)),
        metrics=MetricConfig(),
        quality=QualityConfig(**quality),
    )


def test_a_row_is_what_the_image_alone_gives(pairs: Path, tmp_path: Path) -> None:
    told: list[int] = []
    (measurement,), rows = read_results(measure(work_on(pairs), tmp_path / "out", told.append))
    triplets = [t for t in folder_triplets(FolderConfig(path=pairs, size_px=48)) if isinstance(t, Triplet)]
    assert [row.key for row in rows] == [t.key for t in triplets]
    for row, t in zip(rows, triplets, strict=True):
        removal = TeleaFill().remove([t.source], [t.mask], [0])[0]
        changed = t.mask | (np.abs(t.source.astype(int) - t.ground_truth).max(2) >= 6)
        assert row.values["psnr_fg"] == pytest.approx(psnr(removal, t.ground_truth, changed))
        assert row.values["psnr_bg"] == 60, "Telea leaves the background alone"
        assert row.origin == t.origin
        assert row.success is assess(removal, t.source, t.mask, t.ground_truth, QualityConfig()).success
        assert 0 < row.seconds < 60
    assert measurement.rejects == {"file is missing": 1}
    assert measurement.model_hash == TeleaFill().model_hash
    assert told == [4]


def test_what_was_measured_is_not_measured_again(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = measure(work_on(pairs), out)
    written = path.stat().st_mtime_ns
    told: list[int] = []
    assert measure(work_on(pairs), out, told.append) == path
    assert path.stat().st_mtime_ns == written
    assert told == []
    assert measure(work_on(pairs, effect_levels=9), out) != path, "another region is other work"
    assert measure(work_on(pairs, method="rorem"), out) != path
    assert len(list((out / "measured").iterdir())) == 3


def test_a_killed_measurement_leaves_nothing_half_written(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tasks.evaluation import benchmark as m\n"
        "work = m.MeasureWork.model_validate_json(sys.argv[1])\n"
        "def wait(done):\n"
        "    print('measured', flush=True)\n"
        "    time.sleep(60)\n"
        "m.measure(work, Path(sys.argv[2]), wait)\n"
    )
    command = [sys.executable, "-P", str(script), work_on(pairs).model_dump_json(), str(out)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == "measured\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert list((out / "measured").iterdir()) == []
    _, rows = read_results(measure(work_on(pairs), out))
    assert len(rows) == 4


def test_batches_keep_the_order_and_hold_one_size() -> None:
    sizes = [8] * 40 + [16] * 3 + [8] * 2
    triplets = [
        Triplet(
            key=str(number), scene="s", split="test", origin="made",
            source=np.zeros((side, side, 3), np.uint8), mask=np.ones((side, side), bool),
            ground_truth=np.zeros((side, side, 3), np.uint8),
        )
        for number, side in enumerate(sizes)
    ]  # fmt: skip
    batches = list(same_size_batches(triplets))
    assert [len(batch) for batch in batches] == [32, 8, 3, 2]
    assert [t.key for batch in batches for t in batch] == [str(number) for number in range(45)]


def test_the_champion_is_a_workspaces_and_no_folders(pairs: Path, studio) -> None:
    chosen = VersionSet(workspace=studio.workspace.root, version=studio.version.number)
    found = method_remover(CHAMPION, chosen, None)
    assert found.model_hash == open_champion(studio.workspace.root, steps=None).remover.model_hash
    with pytest.raises(InputError, match="a folder of triplets has no champion"):
        method_remover(CHAMPION, work_on(pairs).images, None)


def test_a_models_hash_is_a_method_of_its_workspace(studio, tmp_path: Path) -> None:
    chosen = VersionSet(workspace=studio.workspace.root, version=studio.version.number)
    hash = studio.remover.hash
    found = method_remover(hash[:10], chosen, None)
    assert found.model_hash == open_champion(studio.workspace.root, steps=None).remover.model_hash
    for method in (CHAMPION, hash, hash[:10]):
        model = recorded_model(method, chosen)
        assert model is not None
        assert model.hash == hash
    assert recorded_model("telea", chosen) is None
    assert recorded_model(hash, FolderSource(path=tmp_path)) is None
    with pytest.raises(LedgerError, match="has no model beef"):
        method_remover("beef", chosen, None)
    with pytest.raises(InputError, match="is unknown; name patch-match, object-clear"):
        method_remover("beef", FolderSource(path=tmp_path), None)
