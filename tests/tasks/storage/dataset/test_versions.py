"""Versions are immutable, numbered once, and named current by events."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_specs.errors import LedgerError
from data_specs.shard import EncodedSample, ShardRef, Stage
from tasks.storage.dataset import (
    create_version,
    diff_versions,
    load_samples,
    rollback,
    selection_of,
    verify_dataset,
)
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace

ROOT = Path(__file__).parents[4]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def shard(workspace: Workspace, index: int, keys: list[str], stage: Stage = "triplets") -> ShardRef:
    return write_shard(
        workspace,
        stage=stage,
        round=index,
        index=index,
        input_digest=f"{stage} {index}",
        samples=[EncodedSample(key, {"json": b"{}"}, f"scene of {key}", "train") for key in keys],
    )


def test_a_version_lists_its_samples(workspace: Workspace) -> None:
    refs = [shard(workspace, 0, ["a", "b"]), shard(workspace, 1, ["c", "d", "e"], "grown")]
    version = create_version(workspace, [(refs[1], ["e", "c"]), (refs[0], None)], None, "first")
    assert (version.number, version.parents, version.samples, version.shards) == (1, (), 4, 2)
    assert (version.by_stage, version.by_split) == ({"grown": 2, "triplets": 2}, {"train": 4})
    rows = pq.read_table(workspace.versions_dir / version.parquet).to_pylist()
    assert [row["key"] for row in rows] == ["a", "b", "c", "e"]
    assert rows[3] == {
        "key": "e",
        "scene": "scene of e",
        "split": "train",
        "stage": "grown",
        "shard": refs[1].name,
        "round": 1,
    }
    assert [sample.key for sample in load_samples(workspace, 1)] == ["a", "b", "c", "e"]
    assert workspace.ledger().versions.current() == version


def test_the_same_samples_give_the_same_version(workspace: Workspace, tmp_path: Path) -> None:
    refs = [shard(workspace, 0, ["a", "b"]), shard(workspace, 1, ["c"])]
    first = create_version(workspace, [(refs[0], None), (refs[1], None)], None, "first")
    assert create_version(workspace, [(refs[1], None), (refs[0], ["a", "b"])], None, "again") == first
    second = create_version(workspace, [(refs[0], None), (refs[1], None)], 1, "a child of the same samples")
    assert (second.number, second.sha256, second.parents) == (2, first.sha256, (1,))
    other = Workspace.open(tmp_path / "other")
    there = [shard(other, 0, ["a", "b"]), shard(other, 1, ["c"])]
    assert create_version(other, [(each, None) for each in there], None, "").sha256 == first.sha256


def test_a_manifest_whose_writer_died_before_the_ledger_is_taken_up(workspace: Workspace) -> None:
    ref = shard(workspace, 0, ["a"])
    version = create_version(workspace, [(ref, None)], None, "first")
    (workspace.root / "ledger.sqlite").unlink()
    again = Workspace.open(workspace.root)
    shard(again, 0, ["a"])
    assert create_version(again, [(ref, None)], None, "first") == version
    assert verify_dataset(again).clean


def test_growth_diff_and_rollback(workspace: Workspace) -> None:
    first = create_version(workspace, [(shard(workspace, 0, ["a", "b"]), None)], None, "first")
    grown = shard(workspace, 1, ["c", "d"])
    create_version(workspace, [*selection_of(workspace, 1), (grown, ["d"])], 1, "grew")
    diff = diff_versions(workspace, 1, 2)
    assert (diff.added, diff.removed, diff.kept) == (["d"], [], 2)
    assert diff_versions(workspace, 2, 1).removed == ["d"]
    before = {path.name: path.read_bytes() for path in workspace.versions_dir.iterdir()}
    ledger = workspace.ledger()
    for _ in range(2):
        assert rollback(workspace, 1, "seams") == first
        assert ledger.versions.current() == first
        ledger.versions.set_current(
            2, "better after all", event=f"forward {ledger.versions.latest_event()}"[:20]
        )
        rollback(workspace, 2, "better after all")
    assert {path.name: path.read_bytes() for path in workspace.versions_dir.iterdir()} == before


def test_what_cannot_be_a_version_is_refused(workspace: Workspace) -> None:
    refs = [shard(workspace, 0, ["a", "b"]), shard(workspace, 1, ["b"], "grown")]
    with pytest.raises(LedgerError, match="both hold sample b"):
        create_version(workspace, [(each, None) for each in refs], None, "")
    with pytest.raises(LedgerError, match="lacks sample z"):
        create_version(workspace, [(refs[0], ["a", "z"])], None, "")
    with pytest.raises(LedgerError, match="no dataset version 7"):
        create_version(workspace, [(refs[0], None)], 7, "")
    with pytest.raises(LedgerError, match="no dataset version 1"):
        rollback(workspace, 1, "")
    assert workspace.ledger().versions.all() == []


RACE = """
import os, sys
from pathlib import Path
from tasks.storage.dataset import create_version
from tasks.storage.workspace import Workspace
workspace = Workspace.open(Path(sys.argv[1]))
shards = workspace.ledger().shards.all()
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for shard in shards:
                create_version(workspace, [(shard, None)], None, f"writer {number}")
            status = 0
        finally:
            os._exit(status)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_racing_writers_number_each_version_once(workspace: Workspace) -> None:
    for index in range(4):
        shard(workspace, index, [f"k{index}"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RACE, str(workspace.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    versions = workspace.ledger().versions.all()
    assert [version.number for version in versions] == [1, 2, 3, 4]
    assert len({version.sha256 for version in versions}) == 4
    assert verify_dataset(workspace).clean
