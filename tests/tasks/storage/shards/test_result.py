"""What one piece of work gave: kept and refused alike, once, whatever died on the way."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_specs.reject import RefusedSample, Reject, RejectReason
from data_specs.shard import EncodedSample
from data_specs.work import ShardWork
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import ShardReader, decode_refused
from tasks.storage.shards.result import Kept, ShardResult, write_with_rejects
from tasks.storage.workspace import Workspace

WORK = ShardWork(round=0, index=3)
NO_GROUND, TOO_SMALL = RejectReason.NO_GROUND, RejectReason.TOO_SMALL


def kept(name: str, colour: str) -> Kept:
    return Kept(EncodedSample(name, {"txt": name.encode()}, "scene", "train"), {"colour": colour})


def refused(name: str, reason: RejectReason) -> RefusedSample:
    image = np.full((16, 24, 3), len(name), np.uint8)
    reject = Reject(source="test", name=name, reason=reason, detail="so")
    return RefusedSample(scene="scene", split="train", reject=reject, images={"source": image})


def found() -> list[Kept | RefusedSample | Reject]:
    return [
        kept("a", "red"),
        refused("b", NO_GROUND),
        kept("c", "red"),
        Reject(source="test", name="d", reason=TOO_SMALL),
        kept("e", "blue"),
        *(refused(f"f{number}", NO_GROUND) for number in range(5)),
    ]


def no_more() -> Iterator[Kept]:
    raise AssertionError("finished work was done again")
    yield


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def test_kept_refused_and_counted(workspace: Workspace) -> None:
    made = write_with_rejects(workspace, WORK, "composites", found())
    assert made.shard is not None
    assert made.shard.samples == 3
    assert made.rejects == {"no flat ground": 6, "smaller than the sample size": 1}
    assert made.tallies == {"colour": {"red": 2, "blue": 1}}
    assert workspace.ledger().rejects.counts() == made.rejects
    assert verify_dataset(workspace).clean


def test_the_first_refused_of_each_reason_are_shown(workspace: Workspace) -> None:
    made = write_with_rejects(workspace, WORK, "composites", found())
    assert made.refused is not None
    with ShardReader(workspace, [made.refused]) as reader:
        shown = [decode_refused(reader[place]) for place in range(len(reader))]
    assert [each.reject.name for each in shown] == ["b", "f0", "f1"]
    assert shown[0].reject == Reject(source="test", name="b", reason=NO_GROUND, detail="so")
    assert shown[1].images["source"].shape == (16, 24, 3)
    assert np.abs(shown[1].images["source"].astype(int) - 2).max() <= 1


def test_finished_work_is_not_done_again(workspace: Workspace) -> None:
    made = write_with_rejects(workspace, WORK, "composites", found())
    assert write_with_rejects(workspace, WORK, "composites", no_more()) == made


def test_nothing_kept_is_no_shard_and_its_rejects_are(workspace: Workspace) -> None:
    made = write_with_rejects(workspace, WORK, "composites", [refused("b", NO_GROUND)])
    assert made.shard is None
    assert made.refused is not None
    assert workspace.ledger().rejects.counts() == {"no flat ground": 1}
    assert write_with_rejects(workspace, WORK, "composites", no_more()) == made
    empty = write_with_rejects(workspace, ShardWork(round=0, index=4), "composites", [])
    assert empty == ShardResult(shard=None, refused=None, rejects={}, tallies={})


def test_killed_between_shard_and_harvest_it_ends_the_same(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept shard is committed, the refused one and the harvest are not."""
    whole = write_with_rejects(Workspace.open(tmp_path / "whole"), WORK, "composites", found())
    with monkeypatch.context() as patch:
        patch.setattr("tasks.storage.shards.result._write_refused", _die)
        with pytest.raises(KeyboardInterrupt):
            write_with_rejects(workspace, WORK, "composites", found())
    assert [ref.stage for ref in workspace.ledger().shards.all()] == ["composites"]
    assert write_with_rejects(workspace, WORK, "composites", found()) == whole
    assert verify_dataset(workspace).clean


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_same_refusal_of_two_works_is_two_samples(workspace: Workspace) -> None:
    for index in (3, 4):
        work = ShardWork(round=0, index=index)
        write_with_rejects(workspace, work, "composites", [refused("b", NO_GROUND)])
    assert verify_dataset(workspace).clean
    assert workspace.ledger().rejects.counts() == {"no flat ground": 1}


def test_lost_files_are_written_again(workspace: Workspace) -> None:
    made = write_with_rejects(workspace, WORK, "composites", found())
    assert made.shard is not None
    (workspace.shards_dir / f"{made.shard.name}.tar").unlink()
    assert write_with_rejects(workspace, WORK, "composites", found()) == made
    assert verify_dataset(workspace).clean
