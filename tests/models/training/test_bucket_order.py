"""Batches of one size each: nothing twice or never, and known from their number alone."""

import time
from collections import Counter

import pytest

from models.training.samplers import BucketBatches, MixedBatches

BUCKETS = [list(range(0, 40, 2)), list(range(1, 13, 2)), list(range(100, 109))]
"""20, 6 and 9 samples."""


def drawn(start: int, stop: int, buckets=BUCKETS, size: int = 4, seed: int = 5, parts=(slice(None),)):
    return list(BucketBatches(buckets, size, seed, start, stop, parts))


def test_no_batch_mixes_sizes() -> None:
    batches = drawn(0, 100)
    assert len(batches) == 100
    for batch in batches:
        assert len(batch) == 4
        assert sum(any(index in bucket for index, _ in batch) for bucket in BUCKETS) == 1


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_sample_comes_once_an_epoch(size: int) -> None:
    """Where the batch divides each bucket."""
    buckets = [list(range(20)), list(range(20, 28)), list(range(28, 40))]
    a_pass = 40 // size
    batches = drawn(0, 5 * a_pass, buckets, size)
    epochs = [batches[first : first + a_pass] for first in range(0, len(batches), a_pass)]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index, _ in batch) == list(range(40))
    assert len({str(epoch) for epoch in epochs}) == 5, "each epoch another order"


def test_where_the_batch_divides_nothing_none_is_lost_or_ahead() -> None:
    """35 samples in batches of 4: after any number of batches a bucket's samples differ by one at most."""
    batches = drawn(0, 350)
    counts: Counter[int] = Counter()
    for batch in batches:
        counts.update(index for index, _ in batch)
        for bucket in BUCKETS:
            of_bucket = [counts[index] for index in bucket]
            assert max(of_bucket) - min(of_bucket) <= 1
    assert set(counts.values()) == {40}, "350 batches of 4 are 40 epochs of 35"


def test_a_bucket_smaller_than_the_batch_waits_until_it_fills_one() -> None:
    batches = drawn(0, 34, [list(range(32)), [100, 101]], size=4)
    small = [number for number, batch in enumerate(batches) if batch[0][0] >= 100]
    assert len(small) == 2, "four epochs: 32 batches of the one, two of the other"
    assert sorted(index for number in small for index, _ in batches[number]) == 4 * [100] + 4 * [101]


@pytest.mark.parametrize("start", [1, 8, 9, 60, 61])
def test_taken_up_in_mid_epoch_the_order_is_the_unbroken_one(start: int) -> None:
    unbroken = drawn(0, 90)
    assert drawn(start, 90) == unbroken[start:]
    assert len(BucketBatches(BUCKETS, 4, 5, start, 90)) == 90 - start


def test_processes_share_each_batch() -> None:
    whole = drawn(0, 20)
    halves = [slice(0, None, 2), slice(1, None, 2)]
    both = drawn(0, 20, parts=halves)
    assert len(both) == 40
    for number, batch in enumerate(whole):
        assert [both[2 * number], both[2 * number + 1]] == [batch[0::2], batch[1::2]]


def test_another_seed_is_another_order_with_half_the_samples_flipped() -> None:
    assert drawn(0, 20) != drawn(0, 20, seed=6)
    flips = [flip for batch in drawn(0, 500) for _, flip in batch]
    # 2000 tosses: 1000 ± 22; five standard deviations.
    assert abs(sum(flips) - 1000) < 112


def test_one_size_alone_is_the_order_it_always_was() -> None:
    """A dataset of one size does not know that there are buckets."""
    plain = list(MixedBatches([range(30)], 4, seed=5, start=0, stop=40))
    assert drawn(0, 40, [list(range(30))]) == plain


def test_many_sizes_cost_no_more_than_few() -> None:
    """Each place of an epoch is looked at once, however many sizes there are."""

    def seconds(sizes: int) -> float:
        buckets = [range(first, 60_000, sizes) for first in range(sizes)]
        began = time.process_time()
        next(iter(BucketBatches(buckets, 2, 0, 0, 1)))
        return time.process_time() - began

    few, many = min(seconds(10) for _ in range(3)), min(seconds(3_000) for _ in range(3))
    assert many < 4 * few + 0.1
