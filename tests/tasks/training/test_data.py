"""Training data from shards: flips that keep pairs together, and batches known from their number alone."""

import numpy as np
import pytest
import torch

from tasks.evaluation.evaluate import read_triplets
from tasks.storage.shards import ShardReader
from tasks.training.data import TripletSamples, triplet_batches

WHOLE = (slice(None),)


@pytest.fixture
def samples(filmed):
    with ShardReader(filmed.workspace, [filmed.pairs]) as reader:
        yield TripletSamples(reader, range(len(reader)))


def test_a_flip_turns_image_mask_and_truth_together(filmed, samples: TripletSamples) -> None:
    triplets = read_triplets(filmed.workspace, [filmed.pairs], "train")
    assert len(samples) == len(triplets) == 12
    for position in (0, 7):
        plain, flipped = samples[position, False], samples[position, True]
        for name in ("source", "mask", "ground_truth"):
            original = getattr(triplets[position], name)
            assert np.array_equal(getattr(plain, name), original)
            assert np.array_equal(getattr(flipped, name), original[:, ::-1])


def test_batches_go_on_from_any_number(samples: TripletSamples) -> None:
    batches_from = triplet_batches(samples, [range(8), range(8, 12)], 4, seed=2)
    whole, rest = list(batches_from(0, 6, WHOLE)), list(batches_from(4, 6, WHOLE))
    assert len(whole) == 6
    for one, other in zip(whole[4:], rest, strict=True):
        assert torch.equal(one.source, other.source)
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.ground_truth, other.ground_truth)
    batch = whole[0]
    assert (batch.source.shape, batch.mask.shape) == ((4, 3, 32, 32), (4, 1, 32, 32))
    assert -1 <= batch.source.min() < 0 < batch.source.max() <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}


def test_every_batch_draws_from_both_groups(filmed, samples: TripletSamples) -> None:
    triplets = read_triplets(filmed.workspace, [filmed.pairs], "train")
    place = {t.mask.tobytes(): n for n, t in enumerate(triplets)}
    place |= {np.ascontiguousarray(t.mask[:, ::-1]).tobytes(): n for n, t in enumerate(triplets)}
    for batch in triplet_batches(samples, [range(8), range(8, 12)], 4, seed=2)(0, 6, WHOLE):
        found = [place[(mask[0].numpy() > 0).tobytes()] for mask in batch.mask]
        assert sum(n >= 8 for n in found) == 2
