"""Draw samples in a random order each epoch.

The order follows from the step alone, so a resume needs no state.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray


class ShuffledOrder:
    """An endless sequence of epochs over ``count`` samples, each a new permutation.

    Position p is the p-th draw since the start. Any range can be read without the draws before it. A resumed
    training therefore continues exactly at its position.
    """

    def __init__(self, count: int, seed: int) -> None:
        """Order ``count`` ≥ 1 samples from ``seed``."""
        if count < 1:
            raise ValueError("there is no sample to shuffle")
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._permutation: list[int] = []

    def take(self, start: int, length: int) -> list[int]:
        """Sample indices at positions start … start + length − 1."""
        return [self._at(position) for position in range(start, start + length)]

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._permutation = torch.randperm(self.count, generator=generator).tolist()
            self._epoch = epoch
        return self._permutation[place]


class MixedBatches:
    """Batches from several groups in fixed fractions, e.g. half initial, half grown triplets.

    Iteration yields batches ``start`` to ``stop`` − 1, as lists of (sample index, whether to flip it). The
    flip is RORem's random flip. torch's DataLoader takes this as ``batch_sampler``. Of each batch it yields
    the requested slices, one after the other. The draws are those of the whole batch.
    """

    def __init__(
        self,
        groups: list[range],
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: Sequence[slice] = (slice(None),),
    ) -> None:
        """Divide every batch over ``groups`` (non-empty index ranges) as evenly as possible."""
        self._orders = [ShuffledOrder(len(group), seed + 7 * number) for number, group in enumerate(groups)]
        self._groups = groups
        base, extra = divmod(batch_size, len(groups))
        self._shares = [base + (number < extra) for number in range(len(groups))]
        self._start, self._stop = start, stop
        self._seed = seed
        self._parts = parts

    def __len__(self) -> int:
        """Number of remaining slices of batches."""
        return (self._stop - self._start) * len(self._parts)

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        """Yield the samples and flips of each slice."""
        for number in range(self._start, self._stop):
            batch: list[int] = []
            for group, order, share in zip(self._groups, self._orders, self._shares, strict=True):
                batch += [group[i] for i in order.take(number * share, share)]
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
            flips = torch.rand(len(batch), generator=generator) < 0.5
            draws = list(zip(batch, flips.tolist(), strict=True))
            for part in self._parts:
                yield draws[part]


# Samples of several sizes: each batch of one size, each sample once in an epoch.


class _Place(NamedTuple):
    """Where a batch comes from."""

    bucket: int
    number: int
    """Index among the bucket's own batches, from the start of training."""


class BucketBatches:
    """Batches that never mix sizes. Each size gets as many batches as it has samples for.

    Iteration yields batches ``start`` to ``stop`` − 1 as ``MixedBatches`` does. Every bucket is used up in a
    new random order before any of its samples repeats. Samples that do not fill a batch at an epoch's end
    begin the bucket's next batch. The number of a batch alone decides its content.
    """

    def __init__(
        self,
        buckets: Sequence[Sequence[int] | NDArray[np.int64]],
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: Sequence[slice] = (slice(None),),
    ) -> None:
        """Order ``buckets``. Each holds the samples of one size and is not empty."""
        self._buckets = buckets
        self._orders = [
            ShuffledOrder(len(bucket), seed + 7 * number) for number, bucket in enumerate(buckets)
        ]
        self._batch_size = batch_size
        self._seed = seed
        self._start, self._stop = start, stop
        self._parts = parts

    def __len__(self) -> int:
        """Number of remaining slices of batches."""
        return (self._stop - self._start) * len(self._parts)

    def __iter__(self) -> Iterator[list[tuple[int, bool]]]:
        """Yield the samples and flips of each slice."""
        size = self._batch_size
        for number, place in zip(range(self._start, self._stop), self._places(), strict=False):
            drawn = self._orders[place.bucket].take(place.number * size, size)
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
            flips = (torch.rand(size, generator=generator) < 0.5).tolist()
            draws = [
                (int(self._buckets[place.bucket][i]), flip) for i, flip in zip(drawn, flips, strict=True)
            ]
            for part in self._parts:
                yield draws[part]

    def _places(self) -> Iterator[_Place]:
        """The origins of batch ``start`` and all that follow, without end."""
        epoch = self._epoch_of(self._start)
        skipped = self._start - self._batches_before(epoch)
        while True:
            ranges = [
                range(self._full(bucket, epoch), self._full(bucket, epoch + 1))
                for bucket in range(len(self._buckets))
            ]
            bucket_of = [bucket for bucket, numbers in enumerate(ranges) for _ in numbers]
            # A bucket's own batches keep their order, whatever other batches come between.
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            turns = torch.randperm(len(bucket_of), generator=generator).tolist()
            waiting = [iter(numbers) for numbers in ranges]
            ordered = [_Place(bucket_of[turn], next(waiting[bucket_of[turn]])) for turn in turns]
            yield from ordered[skipped:]
            epoch, skipped = epoch + 1, 0

    def _full(self, bucket: int, epochs: int) -> int:
        """Number of batches that a bucket fills in its first ``epochs`` epochs."""
        return epochs * len(self._buckets[bucket]) // self._batch_size

    def _batches_before(self, epoch: int) -> int:
        return sum(self._full(bucket, epoch) for bucket in range(len(self._buckets)))

    def _epoch_of(self, number: int) -> int:
        """The epoch that holds batch ``number``."""
        samples = sum(len(bucket) for bucket in self._buckets)
        epoch = number * self._batch_size // samples  # no batch comes before its samples allow
        while self._batches_before(epoch + 1) <= number:
            epoch += 1
        return epoch
