"""A range of draws as one shard of composites; composites as pool items."""

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_specs.cutout import Cutout
from data_specs.plate import Plate
from tasks.objectclear.composite import SIZE_CLASSES, compose_draws, size_class
from tasks.objectclear.pool import PoolCompositesWork, pool_composites
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import (
    ShardReader,
    decode_composite,
    decode_pool_item,
    decode_refused,
    decode_triplet,
)
from tasks.storage.workspace import Workspace
from tests.tasks.objectclear.conftest import cutouts, plates, shots
from tests.tasks.objectclear.small_stock import compose_work, stocked

__all__ = ["cutouts", "plates", "shots"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def test_draws_become_composites_whose_truth_holds(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    made = compose_draws(workspace, compose_work(stocked(workspace, cutouts, plates)))
    assert made.shard is not None
    with ShardReader(workspace, [made.shard]) as reader:
        composites = [decode_composite(reader[place]) for place in range(len(reader))]
    assert len(composites) >= 15
    for each in composites:
        assert (each.source == each.ground_truth)[~each.foreground].all()
        assert (each.foreground | ~each.mask).all()
    assert sum(made.tallies["objects"].values()) == len(composites)
    assert sum(made.tallies["object area"].values()) == len(composites)
    largest = max(composites, key=lambda each: each.mask.mean())
    assert made.tallies["object area"][size_class(float(largest.mask.mean()))] >= 1
    assert verify_dataset(workspace).clean


def test_parts_of_another_split_are_never_drawn(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    tested = [replace(each, split="test") for each in cutouts[::2]]
    grounds = [*plates[:6], *(replace(each, key=f"t{n}", split="test") for n, each in enumerate(plates[6:]))]
    refs = stocked(workspace, [*cutouts[1::2], *tested], grounds)
    made = compose_draws(workspace, compose_work(refs, split="test"))
    assert made.shard is not None
    with ShardReader(workspace, [made.shard]) as reader:
        composites = [decode_composite(reader[place]) for place in range(len(reader))]
    assert {each.split for each in composites} == {"test"}
    assert {each.plate for each in composites} <= {f"t{number}" for number in range(len(plates))}
    of_test = {each.key for each in tested}
    assert {each.cutout for composite in composites for each in composite.objects} <= of_test


def test_a_shards_images_are_let_go_with_it(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    work = compose_work(stocked(workspace, cutouts, plates))
    gc.collect()
    gc.disable()
    try:
        known = images_held()
        assert compose_draws(workspace, work).shard is not None
        assert images_held() == known, "left for Python's search for circles, they pile up over shards"
    finally:
        gc.enable()


def images_held() -> int:
    return sum(isinstance(each, Cutout | Plate) for each in gc.get_objects())


def test_cut_outs_larger_than_every_plate_are_refused_with_the_reason(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    giants = [replace(each, foot_depth=each.foot_depth * 30) for each in cutouts[:4]]
    made = compose_draws(workspace, compose_work(stocked(workspace, giants, plates), count=6))
    assert made.shard is None
    assert "cut-out is larger than the plate" in made.rejects
    assert made.refused is not None
    with ShardReader(workspace, [made.refused]) as reader:
        shown = decode_refused(reader[0])
    assert set(shown.images) >= {"image", "cutout_0"}


def test_cut_outs_that_all_have_one_light_still_compose(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    alike = [replace(each, shadow_class="none") for each in cutouts[:10]]
    made = compose_draws(workspace, compose_work(stocked(workspace, alike, plates)))
    assert made.shard is not None
    assert "no other cut-out has this light" not in made.rejects


def test_one_cut_out_alone_has_no_partner_and_the_run_goes_on(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    made = compose_draws(workspace, compose_work(stocked(workspace, cutouts[:1], plates), count=40))
    alone = made.rejects["no other cut-out has this light"]
    assert 10 <= alone <= 30
    assert workspace.ledger().rejects.counts()["no other cut-out has this light"] == alone


def test_two_parts_of_the_draws_are_the_whole(
    workspace: Workspace, tmp_path: Path, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    refs = stocked(workspace, cutouts, plates)
    parts = [compose_work(refs, first=0, count=10), compose_work(refs, first=10, count=10, index=1)]
    halves = [compose_draws(workspace, work).shard for work in parts]
    other = Workspace.open(tmp_path / "other")
    whole = compose_draws(other, compose_work(stocked(other, cutouts, plates), count=20)).shard

    def sources(place: Workspace, shards: list) -> list[np.ndarray]:
        with ShardReader(place, [ref for ref in shards if ref]) as reader:
            return [decode_composite(reader[at]).source for at in range(len(reader))]

    split, together = sources(workspace, halves), sources(other, [whole])
    assert len(split) == len(together)
    assert all(np.array_equal(one, two) for one, two in zip(split, together, strict=True))


def test_composites_enter_the_pool_with_their_truth_apart(
    workspace: Workspace, cutouts: list[Cutout], plates: list[Plate]
) -> None:
    composed = compose_draws(workspace, compose_work(stocked(workspace, cutouts, plates))).shard
    assert composed is not None
    ref = pool_composites(workspace, PoolCompositesWork(round=0, index=0, composites=composed))
    (truth,) = workspace.ledger().shards.all(stage="truth")
    with ShardReader(workspace, [composed]) as made, ShardReader(workspace, [ref]) as pool:
        composites = [decode_composite(made[place]) for place in range(len(made))]
        items = [decode_pool_item(pool[place]) for place in range(len(pool))]
    with ShardReader(workspace, [truth]) as reader:
        truths = [decode_triplet(reader.by_key(item.key)) for item in items]
    for composite, item, known in zip(composites, items, truths, strict=True):
        assert item.key == composite.key
        assert item.class_name == composite.objects[composite.removed].class_name
        assert np.array_equal(item.source, composite.source)
        assert np.array_equal(item.mask, composite.mask)
        assert np.array_equal(known.ground_truth, composite.ground_truth)
    assert "ground_truth.png" not in _members(workspace, ref)


def _members(workspace: Workspace, ref) -> set[str]:
    with ShardReader(workspace, [ref]) as reader:
        return set(reader[0].members)


@pytest.mark.parametrize(
    ("share", "name"),
    [
        (0.0, "under 0.25%"),
        (0.0025, "0.25% to 0.50%"),
        (0.03, "2.00% to 4.00%"),
        (0.9, "over 32.00%"),
    ],
)
def test_size_classes(share: float, name: str) -> None:
    assert size_class(share) == name
    assert name in SIZE_CLASSES
