"""The order of samples: true shuffles, shares that hold, and any stretch known without those before."""

from collections import Counter

import pytest

from models.training.samplers import MixedBatches, ShuffledOrder


@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_epoch_is_a_permutation(count: int) -> None:
    drawn = ShuffledOrder(count, seed=3).take(0, 5 * count)
    epochs = [drawn[start : start + count] for start in range(0, 5 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 64:
        assert len({tuple(epoch) for epoch in epochs}) == 5, "each epoch another"
        assert ShuffledOrder(count, seed=4).take(0, count) != epochs[0], "each seed another"


def test_any_stretch_equals_the_same_stretch_of_the_whole() -> None:
    whole = ShuffledOrder(13, seed=1).take(0, 100)
    backwards = ShuffledOrder(13, seed=1)
    for start, length in [(90, 10), (37, 20), (12, 2), (0, 40), (26, 0)]:
        assert backwards.take(start, length) == whole[start : start + length]
        assert ShuffledOrder(13, seed=1).take(start, length) == whole[start : start + length]


def test_where_a_sample_falls_is_fair() -> None:
    order = ShuffledOrder(5, seed=0)
    first = Counter(order.take(5 * epoch, 1)[0] for epoch in range(2000))
    assert set(first) == set(range(5))
    # 2000 draws of 1/5: 400 ± 18; five standard deviations.
    assert all(abs(count - 400) < 90 for count in first.values())


def test_nothing_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="no sample to shuffle"):
        ShuffledOrder(0, seed=0)


@pytest.mark.parametrize(("batch_size", "shares"), [(8, [4, 4]), (9, [5, 4]), (1, [1, 0])])
def test_every_batch_keeps_the_groups_shares(batch_size: int, shares: list[int]) -> None:
    groups = [range(10), range(10, 110)]
    for batch in MixedBatches(groups, batch_size, seed=2, start=0, stop=30):
        assert len(batch) == batch_size
        assert [sum(index in group for index, _ in batch) for group in groups] == shares


def test_a_group_is_gone_through_before_it_repeats() -> None:
    groups = [range(6), range(6, 30)]
    drawn = [index for batch in MixedBatches(groups, 4, seed=2, start=0, stop=12) for index, _ in batch]
    counts = Counter(drawn)
    assert all(counts[index] == 4 for index in range(6)), "24 draws of 6"
    assert all(counts[index] == 1 for index in range(6, 30)), "24 draws of 24"


def test_a_later_start_goes_on_where_the_unbroken_run_stood() -> None:
    groups = [range(7), range(7, 18)]
    unbroken = list(MixedBatches(groups, 5, seed=9, start=0, stop=20))
    resumed = MixedBatches(groups, 5, seed=9, start=13, stop=20)
    assert list(resumed) == unbroken[13:]
    assert len(resumed) == 7


def test_half_the_samples_are_flipped() -> None:
    flips = [flip for batch in MixedBatches([range(50)], 20, seed=0, start=0, stop=100) for _, flip in batch]
    # 2000 tosses: 1000 ± 22; five standard deviations.
    assert abs(sum(flips) - 1000) < 112
