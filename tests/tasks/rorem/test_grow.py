"""Growth: who is accepted, by hand; and what an accepted candidate becomes."""

import tarfile

import numpy as np
import pytest
import sqlalchemy as sa

from data_specs.errors import CleanplateError
from data_specs.keys import derive_key
from data_specs.shard import ImageFormat, ShardRef
from models.images.mask_variants import MaskVariant
from tasks.review.oracle import read_candidates
from tasks.rorem import grow as growing
from tasks.rorem.grow import (
    GrowWork,
    accepted_by_review,
    accepted_by_score,
    candidates_by_item,
    first_candidates,
    grow,
    growth_parts,
)
from tasks.rorem.propose import ProposeWork, propose
from tasks.storage.dataset import verify_dataset
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import Workspace, items_of

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


def proposed(studio, image_format: ImageFormat = "png") -> tuple[ShardRef, ...]:
    """Two shards of candidates, of three items each."""
    items = items_of(studio.workspace, [studio.pool])
    return tuple(
        propose(
            studio.workspace,
            ProposeWork(
                round=1,
                index=number,
                phase="human 1",
                purpose="human",
                pool=(studio.pool,),
                items=tuple(items[3 * number : 3 * number + 3]),
                variants=VARIANTS,
                remover=studio.remover,
                image_format=image_format,
            ),
        )
        for number in range(2)
    )


def grown_parts(workspace: Workspace, refs: tuple[ShardRef, ...], accepted: list[str]) -> list[GrowWork]:
    return [
        GrowWork(round=1, index=number, phase="human 1", purpose="human", candidates=needed, accepted=keys)
        for number, (needed, keys) in enumerate(growth_parts(workspace, refs, accepted))
    ]


def read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None
    return member.read()


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_grown_members_are_the_candidates_bytes_as_tarfile_reads_them(studio, image_format) -> None:
    space, refs = studio.workspace, proposed(studio, image_format)
    suffix = {"png": "png", "jpeg": "jpg"}[image_format]
    accepted = [keys[-1] for keys in candidates_by_item(space, refs).values()]
    [work] = grown_parts(space, refs, accepted)
    grown = grow(space, work)
    held: dict[str, bytes] = {}
    for ref in refs:
        with tarfile.open(space.shards_dir / f"{ref.name}.tar") as tar:
            held |= {m.name: read(tar, m.name) for m in tar}
    with tarfile.open(space.shards_dir / f"{grown.name}.tar") as tar:
        for key in accepted:
            names = {"source": "source", "ground_truth": "removal"}
            for new, old in names.items():
                copied = read(tar, f"{derive_key('grown', key)}.{new}.{suffix}")
                assert copied == held[f"{key}.{old}.{suffix}"]
            assert read(tar, f"{derive_key('grown', key)}.mask.png") == held[f"{key}.mask.png"]


def test_growth_is_cut_into_shards_and_a_kill_between_loses_and_doubles_nothing(
    studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, refs = studio.workspace, proposed(studio)
    accepted = [keys[0] for keys in candidates_by_item(space, refs).values()]
    monkeypatch.setattr(growing, "GROWN_SAMPLES", 2)
    works = grown_parts(space, refs, accepted)
    assert [len(work.accepted) for work in works] == [2, 2, 2]
    assert [work.candidates for work in works] == [refs[:1], refs, refs[1:]]
    assert [key for work in works for key in work.accepted] == accepted
    grow(space, works[0])
    real = growing.as_grown

    def killed(sample, key: str, origin: str):
        if sample.key == works[1].accepted[1]:
            raise KeyboardInterrupt
        return real(sample, key, origin)

    monkeypatch.setattr(growing, "as_grown", killed)
    with pytest.raises(KeyboardInterrupt):
        grow(space, works[1])
    monkeypatch.setattr(growing, "as_grown", real)
    again = [grow(space, work) for work in grown_parts(space, refs, accepted)]
    assert space.ledger().shards.all(stage="grown") == again
    assert items_of(space, again) == [derive_key("grown", key) for key in accepted]
    assert verify_dataset(space).clean
    monkeypatch.setattr(growing, "GROWN_SAMPLES", 500)
    [whole] = grown_parts(space, refs, accepted)
    with ShardReader(space, [grow(space, whole)]) as one, ShardReader(space, again) as parts:
        assert [one[n] for n in range(6)] == [parts[n] for n in range(6)]


def test_an_accepted_key_that_is_no_candidate_is_refused(studio) -> None:
    work = GrowWork(
        round=1, index=0, phase="human 1", purpose="human", candidates=(studio.pool,), accepted=("nobody",)
    )
    with pytest.raises(CleanplateError):
        grow(studio.workspace, work)
    assert studio.workspace.ledger().shards.all(stage="grown") == []
