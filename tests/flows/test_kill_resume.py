"""A killed cycle ends as an unbroken one does: the benchmark's own code, with fewer kills."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks._contents import contents_of, differences, left_overs
from benchmarks._killing import Attempt
from benchmarks.kill_resume import FinishedShards, Start, kill_and_resume, random_moments
from data_specs.shard import EncodedSample
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace


@pytest.mark.slow
def test_a_cycle_killed_and_started_again_equals_an_unbroken_one(tmp_path: Path) -> None:
    outcome = kill_and_resume(tmp_path, kills=4, seed=1)
    assert outcome.kills == 4
    assert outcome.shards >= 15
    assert outcome.faults == []
    assert (outcome.lost, outcome.doubled, outcome.redone_shards) == (0, 0, 0)
    assert outcome.verify_clean
    assert outcome.ratio > 1


def workspace_with_a_shard(folder: Path, byte: bytes) -> Workspace:
    def samples() -> Iterator[EncodedSample]:
        yield EncodedSample("one", {"txt": byte}, "scene", "train")

    workspace = Workspace.open(folder)
    write_shard(workspace, stage="triplets", round=0, index=0, input_digest="work", samples=samples())
    return workspace


def test_equal_workspaces_are_equal_and_one_byte_is_seen(tmp_path: Path) -> None:
    one, two, other = (
        contents_of(workspace_with_a_shard(tmp_path / name, byte))
        for name, byte in (("one", b"a"), ("two", b"a"), ("other", b"b"))
    )
    assert differences(one, two) == ([], [])
    lost, more = differences(one, other)
    assert {line.split(":")[0] for line in lost} == {"shards", "tars", "indexes"}
    assert len(more) == len(lost)


def test_a_doubled_row_and_a_lost_one_are_counted(tmp_path: Path) -> None:
    one = workspace_with_a_shard(tmp_path / "one", b"a")
    two = workspace_with_a_shard(tmp_path / "two", b"a")
    one.ledger().draws.draw("human 1", "human", ["x", "y"])
    two.ledger().draws.draw("human 1", "human", ["x"])
    two.ledger().scores.record("judge", {"x": 0.5})
    lost, more = differences(contents_of(one), contents_of(two))
    assert (len(lost), len(more)) == (1, 1)
    assert '"y"' in lost[0]
    assert more[0].startswith("scores")


def test_a_shard_written_again_with_the_same_bytes_is_redone(tmp_path: Path) -> None:
    workspace = workspace_with_a_shard(tmp_path, b"a")
    watch = FinishedShards(tmp_path)
    watch.look()
    watch.look()
    assert watch.redone == set()
    (tar,) = workspace.shards_dir.glob("*.tar")
    again = tar.with_suffix(".copy")
    again.write_bytes(tar.read_bytes())
    again.rename(tar)
    watch.look()
    assert watch.redone == {tar.stem}


def test_left_overs_are_seen(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    (workspace.models_dir / "abc.1.aside").mkdir()
    (workspace.models_dir / "abc.checkpoint.safetensors").touch()
    (workspace.models_dir / "abc").mkdir()
    assert left_overs(workspace) == ["abc.1.aside", "abc.checkpoint.safetensors"]


def test_moments_are_spread_evenly_over_the_work() -> None:
    timeline = [(10.0, (0, 0)), (11.0, (1, 0)), (19.0, (1, 2))]
    moments = random_moments(timeline, Start(20.0, 9.0, killed=False, rows=1, training_steps=0), 4000, seed=0)
    shares = np.array([sum(m.progress == reached for m in moments) for _, reached in timeline]) / 4000
    assert shares == pytest.approx([0.1, 0.8, 0.1], abs=0.02)
    assert 7.9 < max(m.seconds_after for m in moments if m.progress == (1, 0)) <= 8


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "workspace", tmp_path / "log")
    attempt.kill()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
