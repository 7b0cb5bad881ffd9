"""Candidates of training pairs, labelled by the truth: which pairs, which labels, and what they teach."""

import pytest

from data_specs.assessment import QualityConfig
from models.rorem.discriminator import DiscriminatorConfig
from tasks.evaluation.success import assess
from tasks.review.oracle import read_candidates
from tasks.rorem.labelled_pairs import LabelledPairs, choose_pairs, labels_of
from tasks.rorem.propose import ProposeWork, propose
from tasks.rorem.train_discriminator import DiscriminatorTraining, train_from_reviews
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset.versions import create_version, load_samples
from tasks.storage.shards import ShardReader, decode_triplet
from tasks.storage.workspace import items_of
from tests.tasks.rorem.test_train_discriminator import TRAINING, answer, by_variant

QUALITY = QualityConfig()


@pytest.fixture
def paired(studio):
    """A version with 12 training pairs, 6 of validation and 3 grown ones."""
    space = studio.workspace
    training, validation = (
        SyntheticConfig(size_px=32, seed=41, split=split) for split in ("train", "validation")
    )
    pairs = [
        render(space, RenderWork(round=0, index=20 + n, stage="triplets", renderer=r, first=0, count=count))
        for n, (r, count) in enumerate(((training, 12), (validation, 6)))
    ]
    studio.version = create_version(space, [(ref, None) for ref in pairs], None, "pairs").number
    studio.pairs = pairs
    return studio


def test_only_training_pairs_are_chosen_and_the_seed_decides_which(paired) -> None:
    space = paired.workspace
    keys, shards = choose_pairs(space, paired.version, 8, seed=1)
    train = {sample.key for sample in load_samples(space, paired.version) if sample.split == "train"}
    assert len(keys) == len(set(keys)) == 8
    assert set(keys) <= train
    assert [ref.name for ref in shards] == [paired.pairs[0].name]
    assert choose_pairs(space, paired.version, 8, seed=1)[0] == keys
    assert choose_pairs(space, paired.version, 8, seed=2)[0] != keys
    everything, _ = choose_pairs(space, paired.version, 500, seed=1)
    assert set(everything) == train


def labelled(studio) -> LabelledPairs:
    keys, shards = choose_pairs(studio.workspace, studio.version, 10, seed=1)
    work = ProposeWork(
        round=1,
        index=0,
        phase="pairs 1",
        purpose="pairs",
        pool=shards,
        items=tuple(keys),
        variants=("tight", "left"),
        remover=studio.remover,
    )
    return LabelledPairs(candidates=(propose(studio.workspace, work),), truths=shards, quality=QUALITY)


def test_a_label_is_the_measured_success_against_the_pairs_truth(paired) -> None:
    space, pairs = paired.workspace, labelled(paired)
    labels = labels_of(space, pairs)
    shown = read_candidates(space, pairs.candidates[0])
    assert set(labels) == {c.key for c in shown}
    assert len(shown) == 20
    with ShardReader(space, pairs.truths) as reader:
        for c in shown:
            pair = decode_triplet(reader.by_key(c.item))
            assert (c.source == pair.source).all()
            assert (c.mask == pair.mask).all()
            wanted = assess(c.removal, c.source, c.mask, pair.ground_truth, QUALITY).success
            assert labels[c.key] is wanted


def test_labelled_pairs_teach_the_voters_and_are_no_reviews(paired) -> None:
    space = paired.workspace
    work = ProposeWork(
        round=1,
        index=0,
        phase="human 1",
        purpose="human",
        pool=(paired.pool,),
        items=tuple(items_of(space, [paired.pool])),
        variants=("tight", "dilated", "left"),
        remover=paired.remover,
    )
    paired.candidates = propose(space, work)
    answer(paired, by_variant)
    facts = {
        "name": "judge 1",
        "backbone": paired.remover,
        "candidates": (paired.candidates,),
        "discriminator": DiscriminatorConfig(head="pooled", head_width=16, voters=2),
        "training": TRAINING,
        "held_out_items": (),
    }
    alone = train_from_reviews(space, DiscriminatorTraining.model_validate(facts))
    taught = train_from_reviews(
        space, DiscriminatorTraining.model_validate({**facts, "pairs": labelled(paired)})
    )
    assert alone.reviewed == taught.reviewed == 72, "only answers are reviews"
    assert alone.losses == taught.losses, "the network learns from people alone"
    assert alone.discriminator.hash != taught.discriminator.hash
