"""Filming: the pool holds no truth, the truth holds the same keys, and the same work is the same shard."""

import tarfile

import numpy as np

from tasks.sources.synthetic.samples import SyntheticConfig, make_sample
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.shards import ShardReader, decode_pool_item, decode_triplet
from tasks.storage.workspace import Workspace

FRESH = SyntheticConfig(size_px=32, seed=1, split="validation")
"""As conftest.py films it."""


def members(workspace: Workspace, name: str) -> set[str]:
    """Extensions of a shard's members."""
    with tarfile.open(workspace.shards_dir / f"{name}.tar") as tar:
        return {member.name.split(".", 1)[1] for member in tar}


def test_the_pools_truth_lies_apart(filmed) -> None:
    space = filmed.workspace
    in_pool = members(space, filmed.pool.name)
    (truth,) = (t for t in filmed.truths if t.index == filmed.pool.index)
    assert {name for name in in_pool if "truth" in name} == set()
    assert {name for name in members(space, truth.name) if "truth" in name} == {"ground_truth.png"}
    assert "source.png" in in_pool
    keys = [row.key for row in space.ledger().shards.samples_of(filmed.pool.name)]
    assert keys == [row.key for row in space.ledger().shards.samples_of(truth.name)]


def test_a_shard_holds_the_studios_shots(filmed) -> None:
    space = filmed.workspace
    (truth,) = (t for t in filmed.truths if t.index == filmed.fresh.index)
    with ShardReader(space, [filmed.fresh]) as pool, ShardReader(space, [truth]) as truths:
        item, triplet = decode_pool_item(pool[4]), decode_triplet(truths[4])
    number = int(item.origin.rsplit("/", 1)[1])
    assert (number, item.split, triplet.split) == (4, "validation", "validation")
    shot = make_sample(FRESH, 4)
    for found in (item, triplet):
        assert (found.key, found.scene) == (shot.key, shot.scene)
        assert np.array_equal(found.source, shot.source)
        assert np.array_equal(found.mask, shot.mask)
    assert np.array_equal(triplet.ground_truth, shot.ground_truth)


def test_the_same_work_is_the_same_shard(studio, tmp_path) -> None:
    work = RenderWork(round=0, index=1, stage="pool", renderer=FRESH, first=0, count=6)
    assert render(studio.workspace, work) == studio.fresh
    elsewhere = render(Workspace.open(tmp_path / "elsewhere"), work)
    assert elsewhere == studio.fresh, "to the byte, in another workspace"
    later = render(studio.workspace, work.model_copy(update={"first": 3, "count": 3, "index": 7}))
    keys = [row.key for row in studio.workspace.ledger().shards.samples_of(studio.fresh.name)]
    assert [row.key for row in studio.workspace.ledger().shards.samples_of(later.name)] == keys[3:]
