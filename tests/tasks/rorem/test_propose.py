"""Candidates: their keys, noise, masks and order, against a remover that notes what it is given."""

from collections.abc import Sequence

import numpy as np
import pytest

from data_specs.arrays import Mask, RgbImage
from data_specs.keys import derive_key, image_hash
from data_specs.pool_item import PoolItem
from models.images.mask_variants import MaskVariant, widen
from tasks.registry.removers import load_remover
from tasks.review.oracle import read_candidates
from tasks.rorem.propose import ProposeWork, propose, propose_candidates
from tasks.storage.shards import ShardReader, decode_pool_item, encode_candidate
from tasks.storage.workspace import items_of

VARIANTS: tuple[MaskVariant, ...] = ("tight", "dilated", "right")


class Notes:
    """A remover that paints its call's number and the image's place, and notes seeds and masks."""

    model_hash = "notes"

    def __init__(self) -> None:
        self.calls: list[tuple[list[Mask], list[int]]] = []

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        self.calls.append((list(masks), list(seeds)))
        return [np.full_like(s, 10 * len(self.calls) + place) for place, s in enumerate(sources)]


@pytest.fixture
def items(studio) -> list[PoolItem]:
    with ShardReader(studio.workspace, [studio.pool]) as reader:
        return [decode_pool_item(reader[i]) for i in range(4)]


def test_every_item_once_for_each_variant(items: list[PoolItem]) -> None:
    remover = Notes()
    found = list(propose_candidates(items, remover, VARIANTS))
    assert [(c.item, c.variant) for c in found] == [(i.key, v) for i in items for v in VARIANTS]
    for place, item in enumerate(items):
        for number, variant in enumerate(VARIANTS):
            candidate = found[place * 3 + number]
            masks, seeds = remover.calls[number]
            assert candidate.key == derive_key("candidate", item.key, "notes", variant)
            assert seeds[place] == int(candidate.key[:12], 16)
            assert np.array_equal(masks[place], widen(item.mask, variant)), "the remover gets the wide mask"
            assert np.array_equal(candidate.mask, item.mask), "the tight one is stored"
            assert np.all(candidate.removal == 10 * (number + 1) + place)
            assert candidate.source_hash == image_hash(item.source)
            assert (candidate.scene, candidate.split) == (item.scene, item.split)
            assert (candidate.class_name, candidate.model_hash) == (item.class_name, "notes")
    assert len({c.key for c in found}) == 12


def test_a_shard_of_candidates_holds_what_the_remover_made(studio, items: list[PoolItem]) -> None:
    keys = items_of(studio.workspace, [studio.pool])
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=(keys[2], keys[0]),
        variants=VARIANTS,
        remover=studio.remover,
    )
    ref = propose(studio.workspace, work)
    remover = load_remover(studio.workspace, studio.remover)
    assert remover.model_hash == studio.remover.hash, "wherever it is loaded from, it is the same remover"
    expected = list(propose_candidates([items[2], items[0]], remover, VARIANTS))
    found = read_candidates(studio.workspace, ref)
    assert [c.key for c in found] == [c.key for c in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.removal, other.removal)
        assert np.array_equal(one.mask, other.mask)
    with ShardReader(studio.workspace, [ref]) as reader, ShardReader(studio.workspace, [studio.pool]) as pool:
        for position, candidate in enumerate(expected):
            sample = reader[position]
            assert sample.members == encode_candidate(candidate, "png").members, "as every version wrote them"
            assert sample.members["source.png"] == pool.by_key(candidate.item).members["source.png"]
    assert propose(studio.workspace, work) == ref
    tighter = work.model_copy(update={"variants": ("tight",)})
    assert tighter.digest != work.digest


def test_no_more_items_are_in_memory_than_the_remover_edits_at_once(
    studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    monkeypatch.setattr("tasks.rorem.propose.load_remover", lambda *_: notes)
    sampling = studio.remover.sampling.model_copy(update={"batch_size": 3})
    keys = items_of(studio.workspace, [studio.pool])[:7]
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=tuple(keys),
        variants=VARIANTS,
        remover=studio.remover.model_copy(update={"sampling": sampling}),
        image_format="jpeg",
    )
    ref = propose(studio.workspace, work)
    assert [len(seeds) for _, seeds in notes.calls] == [3] * 6 + [1] * 3
    shown = read_candidates(studio.workspace, ref)
    assert [(c.item, c.variant) for c in shown] == [(key, variant) for key in keys for variant in VARIANTS]
    with ShardReader(studio.workspace, [ref]) as reader:
        assert {*reader[0].members} == {"json", "mask.png", "removal.jpg", "source.jpg"}
