"""Growth: who is accepted, by hand; and what an accepted candidate becomes."""

import numpy as np
import pytest
import sqlalchemy as sa

from data_specs.errors import CleanplateError
from data_specs.keys import derive_key
from models.images.mask_variants import MaskVariant
from tasks.review.oracle import read_candidates
from tasks.rorem.grow import (
    GrowWork,
    accepted_by_review,
    accepted_by_score,
    candidates_by_item,
    first_candidates,
    grow,
)
from tasks.rorem.propose import ProposeWork, propose
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import items_of

ITEMS = {"x": ["c", "b", "a"], "y": ["d"], "z": ["f", "e"]}
VARIANTS: tuple[MaskVariant, ...] = ("tight", "left")


def test_one_yes_of_each_item() -> None:
    assert accepted_by_review(ITEMS, {"c", "b", "e", "unknown"}) == ["b", "e"]
    assert accepted_by_review(ITEMS, set()) == []


def test_the_best_score_of_each_item_if_above() -> None:
    scores = {"a": 0.2, "b": 0.95, "c": 0.91, "d": 0.9, "e": 0.99, "f": 0.99}
    assert accepted_by_score(ITEMS, scores, 0.9) == ["b", "f"], "0.9 itself is not above 0.9"
    assert accepted_by_score(ITEMS, scores, 0.96) == ["f"]
    assert accepted_by_score(ITEMS, scores, 0.1) == ["b", "d", "f"]


def test_one_of_each_without_judgement() -> None:
    assert first_candidates(ITEMS) == ["a", "d", "e"]


def test_accepted_candidates_become_triplets_with_their_tight_mask(studio) -> None:
    space = studio.workspace
    items = items_of(space, [studio.pool])[3:7]
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(studio.pool,),
        items=tuple(items),
        variants=VARIANTS,
        remover=studio.remover,
    )
    ref = propose(space, work)
    shown = {c.key: c for c in read_candidates(space, ref)}
    by_item = candidates_by_item(space, [ref])
    assert list(by_item) == items
    assert [shown[key].variant for keys in by_item.values() for key in keys] == [*VARIANTS] * 4
    accepted = [keys[1] for keys in by_item.values()][:3]
    grown = grow(
        space,
        GrowWork(
            round=1, index=0, phase="human 1", purpose="human", candidates=(ref,), accepted=tuple(accepted)
        ),
    )
    assert (grown.stage, grown.samples) == ("grown", 3)
    truths = {row.key for t in studio.truths for row in space.ledger().shards.samples_of(t.name)}
    with ShardReader(space, [grown]) as reader:
        triplets = [decode_triplet(reader[i]) for i in range(3)]
    with ShardReader(space, list(studio.truths)) as reader:
        for key, triplet in zip(accepted, triplets, strict=True):
            candidate, truth = shown[key], decode_triplet(reader.by_key(shown[key].item))
            assert (triplet.key, triplet.origin) == (derive_key("grown", key), f"candidate:{key}")
            assert triplet.key not in truths
            assert (triplet.scene, triplet.split) == (truth.scene, "train")
            assert np.array_equal(triplet.mask, truth.mask), "the tight one, whatever the remover got"
            assert np.array_equal(triplet.source, truth.source)
            assert np.array_equal(triplet.ground_truth, candidate.removal)


def test_items_of_shards_that_the_ledger_does_not_know_are_read_from_them(studio) -> None:
    """Shards of earlier versions: their rows have no item."""
    space, items = studio.workspace, items_of(studio.workspace, [studio.pool])[:3]
    pool, variants = (studio.pool,), VARIANTS[:2]
    works = [
        ProposeWork(
            round=1,
            index=n,
            phase="p",
            purpose="human",
            pool=pool,
            items=part,
            variants=variants,
            remover=studio.remover,
        )  # fmt: skip
        for n, part in enumerate([tuple(items[:2]), tuple(items[2:])])
    ]
    refs = [propose(space, work) for work in works]
    by_item = candidates_by_item(space, refs)
    assert list(by_item) == items
    engine = sa.create_engine(space.ledger_url)
    with engine.begin() as connection:
        changed = sa.text("UPDATE samples SET item = NULL WHERE shard = :shard")
        assert connection.execute(changed, {"shard": refs[0].name}).rowcount == 4
    engine.dispose()
    assert candidates_by_item(space, refs) == by_item
    (space.shards_dir / f"{refs[1].name}.tar").unlink()
    assert candidates_by_item(space, refs[1:]) == {items[2]: by_item[items[2]]}, "no shard is opened"


def test_an_accepted_key_that_is_no_candidate_is_refused(studio) -> None:
    work = GrowWork(
        round=1, index=0, phase="human 1", purpose="human", candidates=(studio.pool,), accepted=("nobody",)
    )
    with pytest.raises(CleanplateError):
        grow(studio.workspace, work)
    assert studio.workspace.ledger().shards.all(stage="grown") == []
