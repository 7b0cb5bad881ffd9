"""Choosing pool items: by the sample's split, never twice, and a sentence when few are left."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from benchmarks._synthetic_ledger import fill
from data_specs import ledger as tables
from data_specs.errors import FlowError
from data_specs.keys import Split, derive_key
from data_specs.shard import EncodedSample
from tasks.rorem import sample_pool
from tasks.rorem.sample_pool import choose_items, fresh_items, unused_items
from tasks.storage.ledger import draws
from tasks.storage.shards import write_shard
from tasks.storage.workspace import Workspace, items_of

choose = choose_items.fn
RUN = derive_key("a run")


def test_nothing_is_drawn_twice_and_a_phase_is_drawn_once(studio) -> None:
    space = studio.workspace
    pool = items_of(space, [studio.pool])
    first = choose(space, "human 1", "human", 10, 0)
    second = choose(space, "automation 1", "automation", 10, 0)
    assert len(set(first + second)) == 20
    assert set(first + second) < set(pool)
    assert choose(space, "human 1", "human", 10, 0) == first
    assert choose(space, "human 1", "human", 99, 7) == first, "a phase that has begun keeps its items"
    with pytest.raises(FlowError, match="the pool has 4 unused items, and human 2 needs 5"):
        choose(space, f"{RUN} human 2", "human", 5, 0)
    assert set(choose(space, "human 2", "human", 4, 0)) == set(pool) - set(first) - set(second)


def test_the_seed_decides_and_not_the_pools_order(studio) -> None:
    pool = items_of(studio.workspace, [studio.pool])
    first = choose(studio.workspace, "a", "human", 8, 0)
    assert first != pool[:8]
    assert choose(studio.workspace, "b", "human", 8, 1) != first


def test_the_discriminator_is_measured_on_validation_items_whose_truth_is_known(studio) -> None:
    space, wanted = studio.workspace, items_of(studio.workspace, [studio.fresh])
    assert fresh_items(space, RUN, 1, 4, 0) == wanted[:4]
    assert len(unused_items(space)) == 24, "and no training item is spent"


@pytest.fixture
def mixed(tmp_path) -> SimpleNamespace:
    """Two pool shards that each hold every split, a test item first; two items a scene, no truth."""
    workspace = Workspace.open(tmp_path / "mixed")
    split_of: dict[str, Split] = {}
    for index in range(2):
        samples = [_sample(index, number) for number in range(40)]
        split_of |= {each.key: each.split for each in samples}
        write_shard(workspace, stage="pool", round=0, index=index, input_digest=f"{index}", samples=samples)
    return SimpleNamespace(workspace=workspace, split_of=split_of)


def _sample(index: int, number: int) -> EncodedSample:
    splits: tuple[Split, ...] = ("test", "train", "validation", "train")
    scene = f"{index}-{number // 2}"
    return EncodedSample(f"{index}-{number}", {"json": b"{}"}, scene, splits[number // 2 % 4])


def scene_of(key: str) -> str:
    shard, _, number = key.partition("-")
    return f"{shard}-{int(number) // 2}"


def test_of_shards_that_mix_splits_the_training_items_are_offered(mixed) -> None:
    training = [key for key, split in mixed.split_of.items() if split == "train"]
    assert unused_items(mixed.workspace) == training
    assert mixed.workspace.ledger().draws.pool_items("test") == [
        key for key, split in mixed.split_of.items() if split == "test"
    ]
    assert set(choose(mixed.workspace, "human 1", "human", len(training), 0)) == set(training)


def test_items_of_many_shards_are_worked_by_shard(mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    space, pool = mixed.workspace, unused_items(mixed.workspace)
    few = choose(space, "few", "human", 8, 0)
    assert few != sorted(few, key=pool.index), "two shards are few"
    other = Workspace.open(space.root.parent / "other")
    shutil.copytree(space.root, other.root, dirs_exist_ok=True)
    with other.ledger()._database.writing() as connection:
        connection.execute(sa.delete(tables.pool_draws))
    monkeypatch.setattr(sample_pool, "_FEW_SHARDS", 1)
    many = choose(other, "many", "human", 8, 0)
    assert set(many) == set(few), "the same items are drawn"
    holders = [scene_of(key).partition("-")[0] for key in many]
    assert holders == sorted(holders)
    assert choose(other, "many", "human", 8, 0) == many


def test_without_truth_the_discriminator_is_measured_on_training_items_set_apart_with_their_scenes(
    mixed,
) -> None:
    space = mixed.workspace
    human = choose(space, f"{RUN} human 1", "human", 6, 0)
    fresh = fresh_items(space, RUN, 1, 5, 0)
    assert {mixed.split_of[key] for key in fresh} == {"train"}
    assert {scene_of(key) for key in fresh}.isdisjoint(scene_of(key) for key in human)
    assert fresh_items(space, RUN, 1, 5, 0) == fresh, "the same again after a kill"
    rest = choose(space, f"{RUN} automation 1", "automation", len(unused_items(space)), 0)
    assert {scene_of(key) for key in rest}.isdisjoint(scene_of(key) for key in fresh)
    with pytest.raises(FlowError, match=r"round 2 needs 5 fresh items .* no phase has used; ingest more"):
        fresh_items(space, RUN, 2, 5, 0)


def test_the_choice_is_that_of_a_sort_over_all_unused_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace.open(tmp_path / "workspace")
    fill(space.ledger_url, 2_000)
    unused = unused_items(space)
    wanted = sorted(unused, key=lambda key: derive_key("choice", 3, key))
    monkeypatch.setattr(draws, "_PART", 64)
    assert choose(space, "a phase", "human", 50, 3) == wanted[:50]
    assert choose(space, "a phase", "human", 50, 4) == wanted[:50], "drawn already"
    assert choose(space, "another", "human", len(unused) - 50, 3) == wanted[50:]
    with pytest.raises(FlowError, match="0 unused items, and a third needs 1"):
        choose(space, "a third", "human", 1, 3)
